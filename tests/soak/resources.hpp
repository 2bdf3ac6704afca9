// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

namespace weir_test {

/// What this process uses, as Linux tells.
[[nodiscard]] inline double resident_kib() {
  std::ifstream in{"/proc/self/statm"};
  double pages = 0;
  double resident = 0;
  in >> pages >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1024.0;
}

[[nodiscard]] inline std::size_t entries_of(const char* folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{folder}, {}));
}
[[nodiscard]] inline std::size_t open_descriptors() {
  return entries_of("/proc/self/fd") - 1;  // but for the one that looks
}
[[nodiscard]] inline std::size_t thread_count() { return entries_of("/proc/self/task"); }

/// Points of a line that is being watched for a slope.
class trend {
 public:
  /// Takes all its memory at once, so that it does not itself grow what it watches.
  explicit trend(std::size_t points) : points_(points) {}

  void add(double x, double y) {
    if (used_ < points_.size()) points_[used_++] = {x, y};
  }

  [[nodiscard]] double first() const { return used_ == 0 ? 0.0 : points_.front().y; }
  [[nodiscard]] double last() const { return used_ == 0 ? 0.0 : points_[used_ - 1].y; }

  /// By least squares, without the first tenth of the points.
  [[nodiscard]] double slope() const {
    const std::size_t from = used_ / 10;
    const auto n = static_cast<double>(used_ - from);
    if (used_ - from < 2) return 0.0;
    double mean_x = 0;
    double mean_y = 0;
    for (std::size_t i = from; i != used_; ++i) {
      mean_x += points_[i].x / n;
      mean_y += points_[i].y / n;
    }
    double xy = 0;
    double xx = 0;
    for (std::size_t i = from; i != used_; ++i) {
      const double dx = points_[i].x - mean_x;
      xy += dx * (points_[i].y - mean_y);
      xx += dx * dx;
    }
    return xx > 0 ? xy / xx : 0.0;
  }

 private:
  struct point {
    double x = 0;
    double y = 0;
  };
  std::vector<point> points_;
  std::size_t used_ = 0;
};

}  // namespace weir_test
