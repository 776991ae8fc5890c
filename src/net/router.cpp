// See router.hpp. A few dozen routes: a linear search over split patterns is quicker than anything clever.
#include "router.hpp"

#include <algorithm>
#include <set>

#include <orchestrator/base/check.hpp>

namespace orchestrator::net {

namespace {

std::vector<std::string> split_pattern(std::string_view pattern) {
  std::vector<std::string> out;
  while (!pattern.empty()) {
    pattern.remove_prefix(1);
    const std::string_view segment = pattern.substr(0, pattern.find('/'));
    out.emplace_back(segment);
    pattern.remove_prefix(segment.size());
  }
  return out;
}

bool is_parameter(const std::string& segment) { return segment.size() > 2 && segment.front() == '{'; }

/// What a parameter may hold: a slash or a control character in a name can only be an attempt at something.
bool is_plain(const std::string& segment) {
  return !segment.empty() && segment != "." && segment != ".." &&
         std::none_of(segment.begin(), segment.end(),
                      [](char c) { return c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// How many literal segments agree, or -1 if the path is not the pattern's.
int literal_matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  if (pattern.size() != path.size()) return -1;
  int literals = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (pattern[i] == path[i] && !is_parameter(pattern[i]))
      ++literals;
    else if (!is_parameter(pattern[i]) || !is_plain(path[i]))
      return -1;
  }
  return literals;
}

}  // namespace

void router::add(route r) {
  ORC_CHECK(!r.pattern.empty() && r.pattern.front() == '/', "a route's pattern starts with /");
  entry e{std::move(r), {}};
  e.segments = split_pattern(e.target.pattern);
  entries_.push_back(std::move(e));
}

void router::add(websocket_endpoint endpoint) { websockets_.push_back(std::move(endpoint)); }

router::match router::find(std::string_view method, const std::vector<std::string>& segments) const {
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  const entry* best = nullptr;
  int best_literals = -1;
  std::set<std::string> others;
  for (const entry& e : entries_) {
    const int literals = literal_matches(e.segments, segments);
    if (literals < 0) continue;
    others.insert(e.target.method);
    if (e.target.method == "GET") others.insert("HEAD");
    if (e.target.method != wanted || literals <= best_literals) continue;
    best = &e;
    best_literals = literals;
  }
  match out;
  if (!best) {
    for (const std::string& other : others) out.allow += (out.allow.empty() ? "" : ", ") + other;
    return out;
  }
  out.found = &best->target;
  for (std::size_t i = 0; i < segments.size(); ++i)
    if (is_parameter(best->segments[i])) out.parameters.push_back(segments[i]);
  return out;
}

const websocket_endpoint* router::find_websocket(std::string_view path) const {
  for (const websocket_endpoint& endpoint : websockets_)
    if (endpoint.path == path) return &endpoint;
  return nullptr;
}

std::vector<std::pair<std::string, std::string>> router::routes() const {
  std::vector<std::pair<std::string, std::string>> out;
  out.reserve(entries_.size());
  for (const entry& e : entries_) out.emplace_back(e.target.method, e.target.pattern);
  return out;
}

}  // namespace orchestrator::net
