#include "simd.h"

#include <atomic>
#include <cstring>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace fanlight {
namespace {

constexpr int kMaxLevels = 4;

struct Available {
  const Simd* levels[kMaxLevels] = {};
  const char* names[kMaxLevels + 1] = {};
  int count = 0;

  void add(const Simd& level) {
    levels[count] = &level;
    names[count] = level.name;
    ++count;
  }
};

Available detect() {
  Available available;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    available.add(simd_avx512);
  }
  if (avx2) available.add(simd_avx2);
#endif
#if defined(__aarch64__)
  if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) available.add(simd_neon);
#endif
  available.add(simd_baseline);
  return available;
}

const Available& available() {
  static const Available found = detect();
  return found;
}

std::atomic<const Simd*>& in_use() {
  static std::atomic<const Simd*> current{available().levels[0]};
  return current;
}

}  // namespace

const Simd& simd() { return *in_use().load(std::memory_order_relaxed); }

const char* const* simd_levels() { return available().names; }

bool force_simd(const char* level) {
  for (int i = 0; i < available().count; ++i) {
    if (std::strcmp(available().names[i], level) == 0) {
      in_use().store(available().levels[i], std::memory_order_relaxed);
      return true;
    }
  }
  return false;
}

}  // namespace fanlight
