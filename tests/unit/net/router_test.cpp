// Tests which route a path finds.
#include "router.hpp"

#include <doctest/doctest.h>

using namespace orchestrator::net;

namespace {
using segments = std::vector<std::string>;

router sample() {
  router r;
  r.add(route{"GET", "/", nullptr});
  r.add(route{"GET", "/runs", nullptr});
  r.add(route{"POST", "/runs", nullptr});
  r.add(route{"GET", "/runs/{id}", nullptr});
  r.add(route{"GET", "/runs/last", nullptr});
  r.add(route{"POST", "/runs/{id}/cancel", nullptr});
  return r;
}

std::string pattern_of(const router& r, const char* method, const segments& path) {
  const router::match m = r.find(method, path);
  return m.found ? m.found->pattern : "none";
}
}  // namespace

TEST_CASE("a route is found by method and path, a literal before a parameter") {
  const router r = sample();
  CHECK(pattern_of(r, "GET", {""}) == "/");
  CHECK(pattern_of(r, "GET", {"runs"}) == "/runs");
  CHECK(pattern_of(r, "HEAD", {"runs"}) == "/runs");
  CHECK(pattern_of(r, "GET", {"runs", "last"}) == "/runs/last");
  CHECK(pattern_of(r, "GET", {"runs", "42"}) == "/runs/{id}");
  CHECK(r.find("POST", {"runs", "42", "cancel"}).parameters == segments{"42"});
  CHECK(r.routes().size() == 6);
}

TEST_CASE("a path that is no route finds nothing") {
  const router r = sample();
  for (const segments& path :
       {segments{"run"}, segments{"runs", ""}, segments{"runs", ".."}, segments{"runs", "a/b"},
        segments{"runs", std::string(1, '\0')}, segments{"", "runs"}, segments{}}) {
    CHECK(pattern_of(r, "GET", path) == "none");
    CHECK(r.find("GET", path).allow == "");
  }
}

TEST_CASE("a known path with another method names the methods it takes") {
  CHECK(sample().find("DELETE", {"runs"}).allow == "GET, HEAD, POST");
}
