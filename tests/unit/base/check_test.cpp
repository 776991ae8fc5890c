// A failed check ends the process and says which one it was.
#include <csignal>
#include <string>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/result.hpp>
#include <orchestrator/base/time.hpp>

namespace {

struct ending {
  int signal = 0;
  std::string said;
};

// Runs `body` in a child, since it is meant to abort.
template <class Body>
ending ending_of(Body body) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);  // not doctest's report
    body();
    ::_exit(0);
  }
  ::close(ends[1]);
  ending e;
  char buffer[4096];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) e.said.append(buffer, std::size_t(n));
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) e.signal = WTERMSIG(status);
  return e;
}

}  // namespace

TEST_CASE("a check that holds does nothing") {
  CHECK(ending_of([] { ORC_CHECK(1 + 1 == 2, "arithmetic"); }).signal == 0);
}

TEST_CASE("a check that fails aborts, and names the expression, the place and the reason") {
  const ending e = ending_of([] { ORC_CHECK(1 + 1 == 3, "the reason"); });
  CHECK(e.signal == SIGABRT);
  CHECK(e.said.find("1 + 1 == 3") != std::string::npos);
  CHECK(e.said.find("check_test.cpp:") != std::string::npos);
  CHECK(e.said.find("the reason") != std::string::npos);
}

TEST_CASE("asking a refusal for its value is a bug that aborts with the refusal's text") {
  const ending e = ending_of([] {
    const orchestrator::result<int> r{
        orchestrator::refusal{orchestrator::errc::limit, "too many jobs", "", ""}};
    static_cast<void>(r.value());
  });
  CHECK(e.signal == SIGABRT);
  CHECK(e.said.find("limit: too many jobs") != std::string::npos);
}

TEST_CASE("the calendar refuses a month that does not exist as a bug") {
  CHECK(ending_of([] { static_cast<void>(orchestrator::days_in_month(2024, 13)); }).signal == SIGABRT);
}
