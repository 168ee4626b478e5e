#include "bind.h"

PYBIND11_MODULE(_native, module) {
  module.doc() = "The native search kernel of Fanlight; import fanlight_kernel instead.";
  fanlight::bind_search(module);
  fanlight::bind_parts(module);
  fanlight::bind_build(module);
  fanlight::bind_cells(module);
  fanlight::bind_ids(module);
}
