// Which route a path and method name. Filled before the server starts, asked by http_session for each
// request.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <orchestrator/net/http.hpp>

namespace orchestrator::net {

class router {
 public:
  void add(route r);
  void add(websocket_endpoint endpoint);

  struct match {
    const route* found = nullptr;
    std::vector<std::string> parameters;
    std::string allow;  ///< when the path is known with other methods only: the value of Allow
  };
  /// HEAD finds the GET route. A literal segment is preferred to a parameter.
  match find(std::string_view method, const std::vector<std::string>& segments) const;
  const websocket_endpoint* find_websocket(std::string_view path) const;
  std::vector<std::pair<std::string, std::string>> routes() const;

 private:
  struct entry {
    route target;
    std::vector<std::string> segments;  // "{…}" is a parameter
  };
  std::deque<entry> entries_;  // a deque: handlers in flight hold pointers
  std::deque<websocket_endpoint> websockets_;
};

}  // namespace orchestrator::net
