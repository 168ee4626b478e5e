// The walk over a graph when only some rows may be returned.
//
// It first looks around: the nearest rows of all kinds are visited, and the share of allowed ones
// among what is met is compared with their share of all rows.
//
// - Where they are about as many as elsewhere it goes on in one of three ways. When a good part of
//   all rows is allowed it wades: rows of all kinds are visited, best first, until enough allowed
//   ones are found. Otherwise it hops: only allowed rows are compared and visited, and where a
//   row has few allowed neighbours, the neighbours of its other ones stand in for them (ACORN-1,
//   Patel et al. 2024). The time of a hop hardly depends on the share. Where few are allowed, or
//   many are wanted, hops miss some: it compares the allowed rows of the nearest cells.
// - Where they are rare, although there are many elsewhere, hops would find what is allowed here
//   and miss the mass of it. It compares the allowed rows of the nearest cells, cell by cell, until
//   they bring nothing any more, and hops on from the best of them. Rows on paths that are not
//   allowed are in near cells too, which walks among allowed rows alone did not find.
// - Without cells it wades farther, and gives up as soon as a scan of all allowed rows would have
//   been as cheap: a scan must then answer.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "allowed.h"
#include "cells.h"
#include "frontier.h"
#include "graph.h"
#include "scan.h"
#include "search_plan.h"
#include "visited.h"
#include "walk.h"

namespace fanlight {

// Rows of all kinds that wait to be visited, and the allowed ones among those met.
class MixedFrontier {
 public:
  // Begin a walk that ends when `enough` allowed rows are nearer than all that wait.
  void start(std::size_t enough, const Allowed& allowed) {
    allowed_ = &allowed;
    found_.start(enough);
    waiting_.clear();
    offered_ = offered_allowed_ = 0;
  }

  SortedFrontier& found() { return found_; }
  std::size_t offered() const { return offered_; }
  std::size_t offered_allowed() const { return offered_allowed_; }

  bool offer(std::uint32_t row, float key) {
    ++offered_;
    if ((*allowed_)(row)) {
      ++offered_allowed_;
      found_.offer(row, key);
    }
    if (found_.rules_out(key)) return false;
    waiting_.push_back({key, row});
    std::push_heap(waiting_.begin(), waiting_.end(), farther);
    return waiting_.front().row == row;
  }

  bool take(std::uint32_t& row) {
    if (waiting_.empty() || found_.rules_out(waiting_.front().key)) return false;
    row = waiting_.front().row;
    std::pop_heap(waiting_.begin(), waiting_.end(), farther);
    waiting_.pop_back();
    return true;
  }

 private:
  const Allowed* allowed_ = nullptr;
  SortedFrontier found_;
  std::vector<Candidate> waiting_;  // best on top
  std::size_t offered_ = 0;
  std::size_t offered_allowed_ = 0;
};

// Takes what is gathered from cells, and tells whether any of it was of use.
class Gathered {
 public:
  explicit Gathered(SortedFrontier& found) : found_(found) {}

  bool offer(std::uint32_t row, float key) {
    useful_ = useful_ || !found_.rules_out(key);
    return found_.offer(row, key);
  }

  bool useful() const { return useful_; }

 private:
  SortedFrontier& found_;
  bool useful_ = false;
};

// Takes the place of Walk. Kept by a thread from walk to walk.
class FilteredWalk {
 public:
  template <typename Scorer>
  void start(const Graph& graph, const Scorer& scorer, const SearchPlan& plan) {
    plan_ = &plan;
    fresh_.start(graph);
    passed_.start(graph.rows().count);
    frontier_.start(plan.enough, *plan.allowed);
    const Candidate first = fresh_.first(graph, scorer);
    frontier_.offer(first.row, first.key);
    graph.prefetch_neighbours(first.row);
    stage_ = Stage::look;
    met_ = gave_up_ = false;
    visits_ = 0;
    patience_ = 1;
    next_look_ = plan.look ? kLook : 0;
  }

  template <typename Scorer>
  bool step(const Graph& graph, const Scorer& scorer) {
    if (met_) {
      compare(graph, scorer);
      return true;
    }
    if (stage_ == Stage::look && visits_ == next_look_) decide(graph, scorer);
    switch (stage_) {
      case Stage::visit:
        return visit(graph, scorer);
      case Stage::hop:
        return hop(graph, scorer);
      case Stage::gather:
        return gather(graph, scorer);
      default:
        return wade(graph, scorer);
    }
  }

  bool best(std::size_t count, std::vector<Candidate>& found) {
    frontier_.found().best(count, found);
    return !gave_up_ && found.size() >= std::min(count, plan_->allowed->count());
  }

 private:
  enum class Stage { look, wade, visit, hop, gather };

  // Decide how to go on; where allowed rows are rare, and there are no cells, it looks farther, since
  // they may not be.
  template <typename Scorer>
  void decide(const Graph& graph, const Scorer& scorer) {
    const bool rare = sparse();
    const bool few = !plan_->look || share_met() < plan_->gather_below;
    if (few || (rare && graph.cells().count > 0)) {
      look_into_cells(graph, scorer);
      frontier_.found().limit(std::max(candidates_for(plan_->k), plan_->ef / kGatheredPart));
      gathered_ = 0;
      evenly_ = !rare && plan_->look;
      gather_until_ = gather_until();
      stage_ = Stage::gather;
      return;
    }
    const std::size_t far = std::min(kFar * plan_->ef, plan_->allowed->count());
    patience_ = fewer_than(kScarce) ? kLittlePatience : 1;
    frontier_.found().limit(rare ? far : plan_->enough);
    next_look_ += kLook;
    if (!rare) stage_ = plan_->hop ? Stage::visit : Stage::wade;
  }

  // Those that hold no allowed row are left out where that takes less time than to compare their
  // centres and pass them: where allowed rows are few for all that ask, and lie together.
  template <typename Scorer>
  void look_into_cells(const Graph& graph, const Scorer& scorer) {
    const Allowed& allowed = *plan_->allowed;
    const std::size_t few = graph.cells().count * (fewer_than(kScarce) ? kFewInEach : 1);
    if (allowed.count() < few * allowed.queries()) {
      cells_.start(graph.cells(), allowed.cells(graph), scorer);
    } else {
      cells_.start(graph.cells(), scorer);
    }
  }

  double share_met() const {
    return static_cast<double>(frontier_.offered_allowed()) / static_cast<double>(frontier_.offered());
  }

  // Whether fewer allowed rows were met than chance explains, if they were spread evenly.
  bool sparse() const { return fewer_than(kUsual); }

  // Whether fewer than this part of the usual number were met.
  bool fewer_than(double part) const {
    const double share = plan_->allowed->share();
    const double expected = share * static_cast<double>(frontier_.offered());
    const double deviation = std::sqrt(expected * (1 - share));
    const double met = static_cast<double>(frontier_.offered_allowed());
    return met < part * expected - kChance * deviation;
  }

  template <typename Scorer>
  void compare(const Graph& graph, const Scorer& scorer) {
    met_ = false;
    if (stage_ == Stage::gather) {
      gathered_ += fresh_.count();
      Gathered gathered(frontier_.found());
      fresh_.offer(graph, scorer, gathered);
      if (gathered.useful()) gather_until_ = gather_until();
    } else if (stage_ == Stage::visit) {
      fresh_.offer(graph, scorer, frontier_.found());
    } else {
      fresh_.offer(graph, scorer, frontier_);
    }
  }

  template <typename Scorer>
  bool wade(const Graph& graph, const Scorer& scorer) {
    const bool dear = static_cast<double>(frontier_.offered()) > patience_ * plan_->scan_compares;
    gave_up_ = stage_ == Stage::look && dear;
    std::uint32_t row = 0;
    if (gave_up_ || !frontier_.take(row)) return false;
    ++visits_;
    fresh_.meet(graph.neighbours(row), scorer);
    return met_ = true;
  }

  // How many rows to gather when one was of use last.
  std::size_t gather_until() const {
    return gathered_ + (evenly_ ? kFewGathered + gathered_ / 10 : kGathered + gathered_ / 2);
  }

  // Meet allowed rows of the next cells.
  template <typename Scorer>
  bool gather(const Graph& graph, const Scorer& scorer) {
    const Cells& cells = graph.cells();
    std::uint32_t cell = 0;
    while (gathered_ < gather_until_ && fresh_.count() < kGatheredAtOnce && cells_.take(cell)) {
      const std::uint32_t first = cells.bounds[cell];
      meet_allowed({cells.rows + first, cells.bounds[cell + 1] - first}, scorer);
    }
    if (fresh_.count() > 0) return met_ = true;
    stage_ = Stage::visit;
    return !evenly_;
  }

  // Visit an allowed row: meet its allowed neighbours, and ask for the lists of as many others as
  // it will probably take to find enough.
  template <typename Scorer>
  bool visit(const Graph& graph, const Scorer& scorer) {
    std::uint32_t row = 0;
    if (!frontier_.found().take(row)) return false;
    others_.clear();
    degree_ = meet_allowed(graph.neighbours(row), scorer);
    const Neighbours next = graph.neighbours(row);
    for (std::uint32_t i = 0; i < next.count; ++i) {
      const std::uint32_t other = next.rows[i];
      if (!(*plan_->allowed)(other) && !passed_.met(other)) others_.push_back(other);
    }
    const double wanted = static_cast<double>(graph.m()) - static_cast<double>(degree_);
    const double each = plan_->allowed->share() * static_cast<double>(graph.m());
    const double hops = std::clamp(wanted / each + 1, 0.0, static_cast<double>(others_.size()));
    for (std::size_t i = 0; i < static_cast<std::size_t>(hops); ++i) {
      graph.prefetch_neighbours(others_[i]);
    }
    stage_ = Stage::hop;
    return true;
  }

  // Meet allowed rows beyond the others.
  template <typename Scorer>
  bool hop(const Graph& graph, const Scorer& scorer) {
    for (std::size_t i = 0; i < others_.size() && degree_ < graph.m(); ++i) {
      passed_.meet(others_[i]);
      degree_ += meet_allowed(graph.neighbours(others_[i]), scorer);
    }
    stage_ = Stage::visit;
    return met_ = true;
  }

  // Meet those of some neighbours that are allowed; returns how many they are.
  template <typename Scorer>
  std::size_t meet_allowed(const Neighbours& next, const Scorer& scorer) {
    kept_.resize(next.count);
    std::size_t kept = 0;
    for (std::uint32_t i = 0; i < next.count; ++i) {
      kept_[kept] = next.rows[i];
      kept += (*plan_->allowed)(next.rows[i]);
    }
    fresh_.meet({kept_.data(), static_cast<std::uint32_t>(kept)}, scorer);
    return kept;
  }

  // Rows visited between two looks at the share: about 100 to 200 more are then met.
  static constexpr std::size_t kLook = 12;
  // Allowed rows are rare where fewer than this part of what is usual are met, less so many
  // standard deviations, so that few of the walks among evenly spread ones look farther. Measured
  // where hops then found 0.98 of the true hits, and 0.6 to 0.75 below (100,000 x 128, clusters
  // cut by half-spaces and balls).
  static constexpr double kUsual = 0.85;
  static constexpr double kChance = 0.3;
  // Where they are rare, this many times ef allowed rows are enough.
  static constexpr std::size_t kFar = 4;
  // Where fewer than this part of what is usual are met, a walk is likely to give up: it does so
  // after this part of the time of a scan. With allowed rows on the far side of the query that
  // took 2.3 instead of 3.6 times an unfiltered search (20,000 x 128, half of the rows).
  static constexpr double kScarce = 0.5;
  static constexpr double kLittlePatience = 0.2;

  // So many rows are gathered at least, half as many again as when one was kept last, and this part
  // of ef is kept. With the far half, fifth and tenth of 20,000 to 100,000 rows of 16, 128 and 784
  // dimensions that found 0.957 and more of the true hits; without the hops that follow, 0.93.
  static constexpr std::size_t kGathered = 300;
  static constexpr std::size_t kGatheredPart = 4;
  // Where allowed rows lie evenly, a tenth as many again are enough, and hops after them bring nothing
  // (100,000 x 128 and 60,000 x 784, a fiftieth to a third of the rows).
  static constexpr std::size_t kFewGathered = 200;
  // Allowed rows for each cell, of which it pays to list the cells for a single query (ADR 30).
  static constexpr std::size_t kFewInEach = 8;
  // Rows asked for before they are compared.
  static constexpr std::size_t kGatheredAtOnce = 32;

  const SearchPlan* plan_ = nullptr;
  MixedFrontier frontier_;
  Fresh fresh_;
  Visited passed_;                     // not allowed, and their neighbours were met
  std::vector<std::uint32_t> others_;  // neighbours that are not allowed
  std::vector<std::uint32_t> kept_;
  NearestCells cells_;
  std::size_t gathered_ = 0;  // rows of cells that were compared
  std::size_t gather_until_ = 0;
  bool evenly_ = false;  // allowed rows are about as many around the query as elsewhere
  std::size_t degree_ = 0;     // allowed neighbours of the row visited
  std::size_t visits_ = 0;
  double patience_ = 1;
  std::size_t next_look_ = 0;  // visits after which it is decided how to go on
  Stage stage_ = Stage::look;
  bool met_ = false;  // there are rows to compare
  bool gave_up_ = false;
};

}  // namespace fanlight
