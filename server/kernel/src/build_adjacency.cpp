#include "build_adjacency.h"

#include <algorithm>

namespace fanlight {
namespace {

// A power of two, so many that two threads seldom want the same one.
constexpr std::size_t kLocks = 1024;

constexpr auto kRelaxed = std::memory_order_relaxed;

template <typename From, typename To>
void copy_cells(const From* from, std::size_t count, To* to) {
  for (std::size_t i = 0; i < count; ++i) to[i] = from[i];
}

}  // namespace

Adjacency::Adjacency(std::size_t m, std::vector<std::uint8_t> levels)
    : m_(m),
      levels_(std::move(levels)),
      upper_starts_(levels_.size() + 1, 0),
      locks_(std::make_unique<std::mutex[]>(kLocks)) {
  for (std::size_t row = 0; row < levels_.size(); ++row) {
    upper_starts_[row + 1] = upper_starts_[row] + levels_[row];
  }
  links_ = std::make_unique<Cell[]>(levels_.size() * (1 + 2 * m_));
  upper_ = std::make_unique<Cell[]>(upper_lists() * (1 + m_));
}

void Adjacency::load(const GraphArrays& arrays, std::size_t rows) {
  copy_cells(arrays.links, rows * (1 + 2 * m_), links_.get());
  copy_cells(arrays.upper, upper_starts_[rows] * (1 + m_), upper_.get());
}

std::size_t Adjacency::read(std::uint32_t row, std::uint32_t level, std::uint32_t* rows) const {
  std::size_t count = 0;
  for_each(row, level, [&](std::uint32_t neighbour) { rows[count++] = neighbour; });
  return count;
}

std::unique_lock<std::mutex> Adjacency::lock(std::uint32_t row) {
  return std::unique_lock<std::mutex>(locks_[row % kLocks]);
}

void Adjacency::append(std::uint32_t row, std::uint32_t level, std::uint32_t neighbour) {
  Cell* cells = list(row, level);
  const std::uint32_t count = cells[0].load(kRelaxed);
  cells[count + 1].store(neighbour, kRelaxed);
  cells[0].store(count + 1, std::memory_order_release);
}

void Adjacency::write(std::uint32_t row, std::uint32_t level, const std::uint32_t* rows,
                      std::size_t count) {
  Cell* cells = list(row, level);
  for (std::size_t i = 0; i < count; ++i) cells[i + 1].store(rows[i], kRelaxed);
  cells[0].store(static_cast<std::uint32_t>(count), std::memory_order_release);
}

void Adjacency::copy_links(std::uint32_t* links) const {
  copy_cells(links_.get(), rows() * (1 + 2 * m_), links);
}

void Adjacency::copy_upper(std::uint32_t* upper) const {
  copy_cells(upper_.get(), upper_lists() * (1 + m_), upper);
}

}  // namespace fanlight
