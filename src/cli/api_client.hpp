// The command line's side of the HTTP API: finds the server and the token, makes calls, and turns every
// failure into one sentence and an exit code.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include <orchestrator/cli/cli.hpp>

namespace orchestrator::cli {

namespace json = boost::json;
using steady_time = std::chrono::steady_clock::time_point;

/// Ends the command: `message` goes to stderr, `code` is the exit code. `problem` is the server's answer, if
/// there was one.
struct failure {
  int code = exit_refused;
  std::string message;
  std::string problem;
};

struct api_answer {
  int status = 0;
  json::value body;
  std::map<std::string, std::string> headers;
};

class api_client {
 public:
  explicit api_client(const settings& values);
  ~api_client();

  using header_list = std::vector<std::pair<std::string, std::string>>;
  /// One call; throws failure on anything but 2xx. `body` null: no body.
  api_answer call(const std::string& method, const std::string& path, const json::value& body = nullptr,
                  header_list headers = {}, std::chrono::milliseconds timeout = std::chrono::seconds{30});
  api_answer get(const std::string& path) { return call("GET", path); }
  /// Repeats a call that may be repeated while the server cannot be reached, for at most `patience`.
  api_answer call_patiently(const std::string& method, const std::string& path, const json::value& body,
                            const header_list& headers, std::chrono::milliseconds patience);
  /// Streams lines; `line` returns false to stop. True if the stream ended as the server meant it to or
  /// `line` stopped it; false if it was cut, or `until` came.
  bool stream_lines(const std::string& path, header_list headers,
                    std::function<bool(std::string_view line)> line, steady_time until = steady_time::max());
  /// Every item of a list, page by page.
  json::array get_all(const std::string& path);
  const std::string& base() const { return base_; }

 private:
  struct connection;
  std::string base_;
  std::string token_;
  std::unique_ptr<connection> connection_;
};

/// Percent-encodes one path segment or query value.
std::string url_encode(std::string_view text);

}  // namespace orchestrator::cli
