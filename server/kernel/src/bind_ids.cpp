// Rows by id.
#include <cstring>

#include "bind.h"
#include "bind_arrays.h"
#include "ids.h"

namespace fanlight {
namespace {

py::array_t<std::uint8_t> kept_rows(py::handle ids, py::handle rows, py::handle gone) {
  const Array<std::int64_t> held(ids, "ids", {kAny});
  const std::size_t count = held.extent(0);
  const Array<std::int64_t> places(rows, "rows", {static_cast<py::ssize_t>(count)});
  const Array<std::int64_t> others(gone, "gone", {kAny});
  py::array_t<std::uint8_t> bits(static_cast<py::ssize_t>((count + 7) / 8));
  std::uint8_t* out = bits.mutable_data();
  bool fits = true;
  {
    py::gil_scoped_release release;
    std::memset(out, 0xFF, (count + 7) / 8);
    if (count % 8 != 0) out[count / 8] = static_cast<std::uint8_t>((1U << count % 8) - 1);
    fits = clear_rows({held.data(), places.data(), count}, others.data(), others.extent(0), out);
  }
  if (!fits) throw py::value_error("rows: expected each of 0 to n - 1, got another");
  return bits;
}

}  // namespace

void bind_ids(py::module_& module) {
  module.def("kept_rows", &kept_rows, py::arg("ids"), py::arg("rows"), py::arg("gone"));
}

}  // namespace fanlight
