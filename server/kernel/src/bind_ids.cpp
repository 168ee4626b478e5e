// Rows and shards by id.
#include <pybind11/stl.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bind.h"
#include "bind_arrays.h"
#include "id_table.h"
#include "placement.h"
#include "string_id_table.h"

namespace fanlight {
namespace {

// Built beside the interpreter.
IdTable table_of(py::handle ids) {
  const Array<std::int64_t> column(ids, "ids", {kAny});
  const std::size_t count =
      checked_range("ids", static_cast<py::ssize_t>(column.extent(0)), 0, kMaxRows);
  const py::gil_scoped_release release;
  return IdTable(column.data(), count);
}

// Set the bits of all rows, and clear those of some beside the interpreter.
template <typename Clear>
py::array_t<std::uint8_t> bits_without(std::size_t count, const Clear& clear) {
  py::array_t<std::uint8_t> bits(static_cast<py::ssize_t>((count + 7) / 8));
  std::uint8_t* out = bits.mutable_data();
  const py::gil_scoped_release release;
  std::memset(out, 0xFF, (count + 7) / 8);
  if (count % 8 != 0) out[count / 8] = static_cast<std::uint8_t>((1U << count % 8) - 1);
  clear(out);
  return bits;
}

py::array_t<std::uint8_t> rows_without(const IdTable& table, py::handle gone) {
  const Array<std::int64_t> others(gone, "gone", {kAny});
  return bits_without(table.rows(), [&](std::uint8_t* bits) {
    table.clear(others.data(), others.extent(0), bits);
  });
}

template <typename Step>
py::array_t<std::uint8_t> rows_without_steps_of(const IdTable& table, std::int64_t first,
                                                py::handle steps) {
  const Array<Step> column(steps, "steps", {kAny});
  const IdSteps<Step> gone{first, column.data(), column.extent(0)};
  return bits_without(table.rows(), [&](std::uint8_t* bits) { table.clear(gone, bits); });
}

py::array_t<std::uint8_t> rows_without_steps(const IdTable& table, std::int64_t first,
                                             const py::array& steps) {
  if (steps.itemsize() == 1) return rows_without_steps_of<std::uint8_t>(table, first, steps);
  return rows_without_steps_of<std::uint16_t>(table, first, steps);
}

// Raises ValueError where they do not cut the data into as many strings.
Strings checked_strings(const Array<std::uint64_t>& offsets, const Array<std::uint8_t>& data) {
  const std::size_t count =
      checked_range("offsets", static_cast<py::ssize_t>(offsets.extent(0)), 1, kMaxRows) - 1;
  const std::uint64_t* const at = offsets.data();
  bool cuts = at[0] == 0 && at[count] == data.extent(0);
  for (std::size_t i = 0; i < count; ++i) cuts &= at[i] <= at[i + 1];
  if (!cuts) {
    throw py::value_error("offsets: expected ascending ones from 0 to " +
                          std::to_string(data.extent(0)) + ", got others");
  }
  return {at, reinterpret_cast<const char*>(data.data()), count};
}

// A table and the arrays that its strings lie in.
struct KeptStrings {
  KeptStrings(py::handle offsets_, py::handle data_)
      : offsets(offsets_, "offsets", {kAny}), data(data_, "data", {kAny}), table(made()) {}

  StringIdTable made() const {
    const Strings ids = checked_strings(offsets, data);
    const py::gil_scoped_release release;
    return StringIdTable(ids, random_seed());
  }

  Array<std::uint64_t> offsets;
  Array<std::uint8_t> data;
  StringIdTable table;
};

py::array_t<std::uint8_t> rows_without_strings(const KeptStrings& self, const py::bytes& gone) {
  const std::string_view joined = gone;
  return bits_without(self.table.rows(),
                      [&](std::uint8_t* bits) { self.table.clear(joined, bits); });
}

py::list strings_by_shard(const py::bytes& joined_, py::ssize_t shards) {
  const std::string_view joined = joined_;
  const std::size_t count = checked_range("shards", shards, 1, py::ssize_t{1} << kSlotBits);
  std::vector<JoinedPart> parts;
  {
    const py::gil_scoped_release release;
    parts = split_by_shard(joined, count);
  }
  py::list each;
  for (const JoinedPart& part : parts) {
    each.append(py::make_tuple(py::bytes(part.joined), part.count));
  }
  return each;
}

py::tuple by_shard(py::handle ids, py::ssize_t shards) {
  const Array<std::int64_t> whole(ids, "ids", {kAny});
  const std::size_t count = checked_range("shards", shards, 1, py::ssize_t{1} << kSlotBits);
  py::array_t<std::int64_t> parts(static_cast<py::ssize_t>(whole.extent(0)));
  std::int64_t* out = parts.mutable_data();
  std::vector<std::size_t> bounds;
  {
    const py::gil_scoped_release release;
    bounds = split_by_shard(whole.data(), whole.extent(0), count, out);
  }
  return py::make_tuple(std::move(parts), py::cast(bounds));
}

}  // namespace

void bind_ids(py::module_& module) {
  py::class_<IdTable>(module, "IdTable")
      .def(py::init(&table_of), py::arg("ids"))
      .def("rows_without", &rows_without, py::arg("gone"))
      .def("rows_without_steps", &rows_without_steps, py::arg("first"), py::arg("steps"));
  py::class_<KeptStrings>(module, "StringIdTable")
      .def(py::init<py::handle, py::handle>(), py::arg("offsets"), py::arg("data"))
      .def("rows_without", &rows_without_strings, py::arg("gone"));
  module.def("split_strings_by_shard", &strings_by_shard, py::arg("joined"), py::arg("shards"));
  module.def("split_by_shard", &by_shard, py::arg("ids"), py::arg("shards"));
}

}  // namespace fanlight
