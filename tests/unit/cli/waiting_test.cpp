// The exit code that a finished run stands for.
#include <doctest/doctest.h>
#include <orchestrator/protocol/definitions.hpp>

#include "waiting.hpp"

using namespace orchestrator;
using namespace orchestrator::cli;

namespace {

int code_of(const char* run) { return exit_code_of(protocol::parse_json(run)->as_object()); }

}  // namespace

TEST_CASE("a single run passes on its command's own exit code") {
  CHECK(code_of(R"({"id":"r","state":"succeeded","attempts":[{"state":"succeeded","exit_code":0}]})") == 0);
  CHECK(code_of(R"({"id":"r","state":"failed","attempts":[{"state":"failed","exit_code":3}]})") == 3);
  CHECK(
      code_of(R"({"id":"r","state":"failed","attempts":[{"state":"failed","exit_code":127,"error":"e"}]})") ==
      127);
}

TEST_CASE("of several attempts the last one counts") {
  CHECK(code_of(R"({"id":"r","state":"failed","attempts":[{"state":"failed","exit_code":3},
                    {"state":"failed","exit_code":4}]})") == 4);
}

TEST_CASE("a run that a signal ended is 128 and the signal's number") {
  CHECK(
      code_of(R"({"id":"r","state":"failed","attempts":[{"state":"failed","exit_code":null,"signal":9}]})") ==
      137);
}

TEST_CASE("a run whose timeout passed is 124, whatever its process did with the TERM") {
  CHECK(code_of(
            R"({"id":"r","state":"failed","attempts":[{"state":"timed_out","exit_code":0,"signal":15}]})") ==
        124);
}

TEST_CASE("what is no end of the command's own is 125") {
  for (const char* state : {"cancelled", "skipped", "expired", "unknown"}) {
    CAPTURE(state);
    CHECK(code_of(("{\"id\":\"r\",\"state\":\"" + std::string(state) + "\",\"attempts\":[]}").c_str()) ==
          125);
  }
  CHECK(code_of(R"({"id":"r","state":"failed","reason":"worker_lost","attempts":[{"state":"lost"}]})") ==
        125);
  CHECK(code_of(R"({"id":"r","state":"failed","reason":"rejected","attempts":[]})") == 125);
}

TEST_CASE(
    "a wait without a limit never ends by itself; one that cannot be read, or without a wait, is refused") {
  wait_flags flags;
  CHECK(flags.until() == steady_time::max());
  flags.wait_timeout = "90s";
  CHECK_THROWS_AS(flags.until(), failure);
  for (bool* waits : {&flags.wait, &flags.follow, &flags.always}) {
    *waits = true;
    CHECK(flags.until() > std::chrono::steady_clock::now());
    *waits = false;
  }
  flags.wait = true;
  CHECK(flags.until() - std::chrono::steady_clock::now() > std::chrono::seconds{60});
  flags.wait_timeout = "soon";
  CHECK_THROWS_AS(flags.until(), failure);
}
