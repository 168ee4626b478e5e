#include "build_cells.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>

#include "build_threads.h"
#include "codes.h"

namespace fanlight {
namespace {

// Rows of the sample for each centre, and how often the centres move. Moved once, cells held less of
// what far searches looked for (60,000 x 784: 0.83 of it instead of 0.92 of a tenth of the rows); moved
// three times, or by twice the sample, 0.89 and 0.94 at half as much work again and more.
constexpr std::size_t kSampled = 16;
constexpr std::size_t kMoves = 2;
// Rows that a thread takes at a time.
constexpr std::size_t kAtOnce = 16;

// Add the vector that a record stands for, see codes.h: of unit length for cosine.
void add_decoded(const std::uint8_t* record, std::size_t dim, std::vector<float>& sums) {
  float scale;
  std::memcpy(&scale, record + (dim + 3) / 4 * 4, sizeof scale);
  for (std::size_t i = 0; i < dim; ++i) {
    sums[i] += scale * static_cast<float>(static_cast<int>(record[i]) - 128);
  }
}

// Compares rows with all centres, which takes as long whether they are in the fastest cache. For one
// thread.
class NearestCentre {
 public:
  NearestCentre(const CodeSpace& space, const CodeTable& centres, const std::vector<float>& halves,
                std::size_t count)
      : probe_(space), centres_(centres), halves_(halves), numbers_(count), nearness_(count) {
    std::iota(numbers_.begin(), numbers_.end(), 0);
  }

  std::uint32_t to(std::uint32_t row) {
    probe_.aim(row);
    probe_.compare(centres_, numbers_.data(), numbers_.size(), nearness_.data());
    for (std::size_t i = 0; i < halves_.size(); ++i) nearness_[i] -= halves_[i];
    const auto best = std::max_element(nearness_.begin(), nearness_.end());
    return static_cast<std::uint32_t>(best - nearness_.begin());
  }

 private:
  Probe probe_;
  CodeTable centres_;
  const std::vector<float>& halves_;  // of all centres, or none
  std::vector<std::uint32_t> numbers_;
  std::vector<float> nearness_;
};

// Groups items by their cells: bounds of each cell, and the items in it, in their order.
template <typename CellOf, typename Item>
void group(std::size_t items, std::size_t cells, CellOf cell_of, Item item, std::uint32_t* bounds,
           std::uint32_t* grouped) {
  std::fill_n(bounds, cells + 1, 0);
  for (std::size_t i = 0; i < items; ++i) ++bounds[cell_of(i) + 1];
  std::partial_sum(bounds, bounds + cells + 1, bounds);
  std::vector<std::uint32_t> next(bounds, bounds + cells);
  for (std::size_t i = 0; i < items; ++i) grouped[next[cell_of(i)]++] = item(i);
}

}  // namespace

CellBuilder::CellBuilder(const CodeSpace& space, std::size_t cells)
    : space_(space),
      sample_(std::min(space.rows, kSampled * cells)),
      training_(kMoves * sample_),
      centres_(cells * space.table.stride),
      cell_of_(space.rows, 0) {
  for (std::size_t cell = 0; cell < cells; ++cell) {
    const auto row = static_cast<std::uint32_t>(cell * space.rows / cells);
    std::memcpy(centres_.data() + cell * space.table.stride, space.record(row),
                space.table.stride);
  }
  measure_centres();
}

CellBuilder::CellBuilder(const CodeSpace& space, const Cells& base, std::size_t base_rows)
    : space_(space),
      base_rows_(base_rows),
      centres_(base.centres, base.centres + base.count * space.table.stride),
      cell_of_(space.rows, 0) {
  for (std::uint32_t cell = 0; cell < base.count; ++cell) {
    for (std::size_t i = base.bounds[cell]; i < base.bounds[cell + 1]; ++i) {
      cell_of_[base.rows[i]] = cell;
    }
  }
  measure_centres();
}

double CellBuilder::add(std::size_t stop, std::size_t threads,
                        std::chrono::duration<double> patience) {
  double seconds = 0;
  stop = std::min(stop, steps());
  while (done_ < stop) {
    const bool trains = done_ < training_;
    const std::size_t end = trains ? std::min(stop, (done_ / sample_ + 1) * sample_) : stop;
    seconds += assign(done_, end, threads, patience);
    done_ = end;
    if (trains && done_ % sample_ == 0) seconds += move_centres(threads, patience);
  }
  return seconds;
}

std::uint32_t CellBuilder::sampled(std::size_t i) const {
  return static_cast<std::uint32_t>(i * space_.rows / sample_);
}

std::uint32_t CellBuilder::row_of(std::size_t step) const {
  return step < training_ ? sampled(step % sample_)
                          : static_cast<std::uint32_t>(base_rows_ + step - training_);
}

double CellBuilder::assign(std::size_t first, std::size_t end, std::size_t threads,
                           std::chrono::duration<double> patience) {
  std::atomic<std::size_t> next{first};
  const CodeTable centres{centres_.data(), space_.table.stride, space_.table.dim};
  return run_on_new_threads(threads, patience, [&] {
    NearestCentre nearest(space_, centres, halves_, cells());
    for (;;) {
      const std::size_t from = next.fetch_add(kAtOnce, std::memory_order_relaxed);
      if (from >= end) return;
      for (std::size_t step = from; step < std::min(from + kAtOnce, end); ++step) {
        cell_of_[row_of(step)] = nearest.to(row_of(step));
      }
    }
  });
}

// Move every centre to the mean of the sampled rows in its cell. One without any stays where it is, and
// so does one whose mean float32 does not hold.
double CellBuilder::move_centres(std::size_t threads, std::chrono::duration<double> patience) {
  const std::size_t dim = space_.table.dim;
  std::vector<std::uint32_t> bounds(cells() + 1), rows(sample_);
  group(
      sample_, cells(), [&](std::size_t i) { return cell_of_[sampled(i)]; },
      [&](std::size_t i) { return sampled(i); }, bounds.data(), rows.data());
  std::atomic<std::size_t> next{0};
  const double seconds = run_on_new_threads(threads, patience, [&] {
    std::vector<float> mean(dim);
    for (;;) {
      const std::size_t cell = next.fetch_add(1, std::memory_order_relaxed);
      if (cell >= cells()) return;
      const std::size_t count = bounds[cell + 1] - bounds[cell];
      if (count == 0) continue;
      std::fill(mean.begin(), mean.end(), 0.0F);
      for (std::size_t i = bounds[cell]; i < bounds[cell + 1]; ++i) {
        add_decoded(space_.record(rows[i]), dim, mean);
      }
      for (float& sum : mean) sum /= static_cast<float>(count);
      encode_row(space_.metric, mean.data(), length_of(mean.data(), dim), dim,
                 centres_.data() + cell * space_.table.stride);
    }
  });
  measure_centres();
  return seconds;
}

void CellBuilder::measure_centres() {
  if (space_.metric != Metric::dot) return;
  const std::size_t dim = space_.table.dim;
  halves_.resize(cells());
  std::vector<float> centre(dim);
  for (std::size_t cell = 0; cell < cells(); ++cell) {
    std::fill(centre.begin(), centre.end(), 0.0F);
    add_decoded(centres_.data() + cell * space_.table.stride, dim, centre);
    const double length = length_of(centre.data(), dim);
    halves_[cell] = static_cast<float>(length * length / 2);
  }
}

void CellBuilder::copy_rows(std::uint32_t* bounds, std::uint32_t* rows) const {
  group(
      cell_of_.size(), cells(), [&](std::size_t row) { return cell_of_[row]; },
      [](std::size_t row) { return static_cast<std::uint32_t>(row); }, bounds, rows);
}

}  // namespace fanlight
