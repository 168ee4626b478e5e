// Puts rows into cells around centres, by their codes alone.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "build_space.h"
#include "cells.h"

namespace fanlight {

// Every row goes to the centre that is nearest to it. A centre is the mean of rows of a sample that were
// nearest to it before (Lloyd 1982), twice over; at first it is a row. For inner products nearest is
// by distance, so that rows of one cell are of like length.
//
// The work is done in steps, each a row to be compared with all centres. For one thread at a time.
class CellBuilder {
 public:
  // space: the rows, in memory that somebody else keeps. cells: how many, 1 to the rows.
  CellBuilder(const CodeSpace& space, std::size_t cells);

  // Keep the cells of the first `base_rows` rows and their centres, and put the others into them.
  CellBuilder(const CodeSpace& space, const Cells& base, std::size_t base_rows);

  std::size_t steps() const { return training_ + space_.rows - base_rows_; }
  std::size_t done() const { return done_; }

  // Go on up to step `stop`, exclusive, on up to `threads` threads; for patience see
  // run_on_new_threads. Returns the seconds of CPU that it took.
  double add(std::size_t stop, std::size_t threads, std::chrono::duration<double> patience);

  std::size_t cells() const { return centres_.size() / space_.table.stride; }
  const std::vector<std::uint8_t>& centres() const { return centres_; }

  // Write the bounds of all cells and the rows in them, ascending; all steps must have been done.
  void copy_rows(std::uint32_t* bounds, std::uint32_t* rows) const;

 private:
  std::uint32_t row_of(std::size_t step) const;
  std::uint32_t sampled(std::size_t i) const;
  double assign(std::size_t first, std::size_t end, std::size_t threads,
                std::chrono::duration<double> patience);
  double move_centres(std::size_t threads, std::chrono::duration<double> patience);
  void measure_centres();

  CodeSpace space_;
  std::size_t base_rows_ = 0;
  std::size_t sample_ = 0;
  std::size_t training_ = 0;           // steps until the centres are where they are to be
  std::atomic<std::size_t> done_{0};
  std::vector<std::uint8_t> centres_;  // records
  std::vector<float> halves_;          // of each centre: half of its squared length, for dot
  std::vector<std::uint32_t> cell_of_;
};

}  // namespace fanlight
