// Logging for the shells. The only layer that includes Boost.Log. Lines go to stderr through a bounded,
// asynchronous sink: a slow terminal must not stall heartbeats. Format: `[INFO] text`, which people grep for.
#pragma once

#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace orchestrator::telemetry {

enum class level { debug, info, warning, error };

/// Starts the sink. `prefix_time` puts an RFC 3339 time before the level (off by default on a terminal).
void start_logging(level lowest, bool prefix_time);
/// Writes what is queued and stops the sink; safe to call twice.
void stop_logging();
/// One line. Control characters in `text` are made visible, so that input cannot forge lines.
void log(level l, std::string_view text);

template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  log(level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  log(level::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  log(level::error, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  log(level::debug, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace orchestrator::telemetry
