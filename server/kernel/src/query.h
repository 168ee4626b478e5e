// A query, prepared for what it is to be compared with.
#pragma once

#include <vector>

#include "codes.h"
#include "rows.h"

namespace fanlight {

// Reused from query to query, so that preparing one allocates nothing. Points into the vector it
// was prepared from.
class Query {
 public:
  void prepare(const Rows& rows, const float* vector) {
    vector_ = vector;
    length_ = length_of(vector, rows.dim);
  }

  void encode(const Rows& rows) { encoded_.encode(rows.metric, vector_, rows.dim); }

  // Divide by the length, for walks over float32 vectors under cosine and dot: products with a
  // unit vector keep their digits however short or long the query is.
  void make_unit(const Rows& rows) {
    unit_.resize(rows.dim);
    const double divisor = rows.metric != Metric::l2 && length_ > 0 ? length_ : 1.0;
    for (std::size_t i = 0; i < rows.dim; ++i) {
      unit_[i] = static_cast<float>(vector_[i] / divisor);
    }
  }

  const float* vector() const { return vector_; }
  double length() const { return length_; }
  const CodeQuery& codes() const { return encoded_.get(); }
  const float* unit() const { return unit_.data(); }

 private:
  const float* vector_ = nullptr;
  double length_ = 0;
  EncodedQuery encoded_;
  std::vector<float> unit_;
};

}  // namespace fanlight
