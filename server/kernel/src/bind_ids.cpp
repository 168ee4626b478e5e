// Rows by id.
#include <cstring>

#include "bind.h"
#include "bind_arrays.h"
#include "ids.h"

namespace fanlight {
namespace {

// The ids of a block of rows, ascending.
struct Held {
  Held(py::handle ids_, py::handle places_)
      : ids(ids_, "ids", {kAny}), places(places_, "rows", {static_cast<py::ssize_t>(ids.extent(0))}) {}

  IdRows rows() const { return {ids.data(), places.data(), ids.extent(0)}; }

  Array<std::int64_t> ids;
  Array<std::int64_t> places;
};

// Set the bits of all rows, and clear those of some beside the interpreter.
template <typename Clear>
py::array_t<std::uint8_t> bits_without(std::size_t count, const Clear& clear) {
  py::array_t<std::uint8_t> bits(static_cast<py::ssize_t>((count + 7) / 8));
  std::uint8_t* out = bits.mutable_data();
  bool fits = true;
  {
    py::gil_scoped_release release;
    std::memset(out, 0xFF, (count + 7) / 8);
    if (count % 8 != 0) out[count / 8] = static_cast<std::uint8_t>((1U << count % 8) - 1);
    fits = clear(out);
  }
  if (!fits) throw py::value_error("rows: expected each of 0 to n - 1, got another");
  return bits;
}

py::array_t<std::uint8_t> kept_rows(py::handle ids, py::handle rows, py::handle gone) {
  const Held held(ids, rows);
  const Array<std::int64_t> others(gone, "gone", {kAny});
  return bits_without(held.ids.extent(0), [&](std::uint8_t* bits) {
    return clear_rows(held.rows(), others.data(), others.extent(0), bits);
  });
}

template <typename Low>
py::array_t<std::uint8_t> kept_by_steps(const Held& held, std::int64_t first, py::handle low,
                                        py::handle high, py::handle wide) {
  const Array<Low> lows(low, "low", {kAny});
  const Array<std::uint64_t> wides(wide, "wide", {kAny});
  Array<std::uint8_t> highs;
  IdSteps gone{first, lows.data(), sizeof(Low), lows.extent(0), nullptr, wides.data(), wides.extent(0)};
  if (!high.is_none()) {
    highs = {high, "high", {static_cast<py::ssize_t>(gone.count)}};
    gone.high = highs.data();
  }
  return bits_without(held.ids.extent(0),
                      [&](std::uint8_t* bits) { return clear_rows(held.rows(), gone, bits); });
}

py::array_t<std::uint8_t> kept_rows_by_steps(py::handle ids, py::handle rows, std::int64_t first,
                                             const py::array& low, py::handle high, py::handle wide) {
  const Held held(ids, rows);
  switch (low.itemsize()) {
    case 1:
      return kept_by_steps<std::uint8_t>(held, first, low, high, wide);
    case 2:
      return kept_by_steps<std::uint16_t>(held, first, low, high, wide);
    default:
      return kept_by_steps<std::uint32_t>(held, first, low, high, wide);
  }
}

}  // namespace

void bind_ids(py::module_& module) {
  module.def("kept_rows", &kept_rows, py::arg("ids"), py::arg("rows"), py::arg("gone"));
  module.def("kept_rows_by_steps", &kept_rows_by_steps, py::arg("ids"), py::arg("rows"),
             py::arg("first"), py::arg("low"), py::arg("high"), py::arg("wide"));
}

}  // namespace fanlight
