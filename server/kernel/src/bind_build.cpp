#include "bind.h"

namespace fanlight {

void bind_build(pybind11::module_&) {}

}  // namespace fanlight
