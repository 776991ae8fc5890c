// The cron parser: what it accepts, what it refuses and where it says the mistake is.
#include <array>
#include <cctype>
#include <chrono>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <orchestrator/base/time.hpp>

#include "cron.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;

namespace {

field_set read(const std::string& text) {
  auto fields = parse_cron(text);
  if (!fields) FAIL("refused: \"" << text << "\": " << fields.error().detail);
  return *fields;
}

/// The refusal of `text`; one with an empty detail if it was taken.
refusal refused(std::string_view text) {
  auto fields = parse_cron(text);
  return fields ? refusal{} : fields.error();
}

bool is_refused_at(std::string_view text, std::size_t position, std::string_view part) {
  const refusal r = refused(text);
  const bool there = r.detail.starts_with(fmt::format("cron, position {}: ", position));
  const bool said = r.detail.find(part) != std::string::npos;
  if (!there || !said || r.pointer != "/schedule/cron")
    MESSAGE("\"" << std::string{text} << "\" -> " << r.detail);
  return there && said && r.pointer == "/schedule/cron";
}

std::vector<int> numbers(std::uint64_t set) {
  std::vector<int> out;
  for (int n = 0; n < 64; ++n) {
    if ((set >> n & 1) != 0) out.push_back(n);
  }
  return out;
}

std::string first_after(const std::string& text, const civil_time& from) {
  const auto found = match_at_or_after(read(text), civil_to_seconds(from) + 1);
  return found ? to_rfc3339(from_unix_ms(*found * 1000)).substr(0, 19) : "never";
}

}  // namespace

TEST_CASE("lists, ranges, steps and names select the values they name") {
  CHECK(numbers(read("0,15,30-32 * * * *").minutes) == std::vector<int>{0, 15, 30, 31, 32});
  CHECK(numbers(read("5-59/15 * * * *").minutes) == std::vector<int>{5, 20, 35, 50});
  CHECK(numbers(read("*/20,7 * * * *").minutes) == std::vector<int>{0, 7, 20, 40});
  CHECK(numbers(read("* 0-23/6 * * *").hours) == std::vector<int>{0, 6, 12, 18});
  CHECK(numbers(read("* * * jan,Mar-MAY *").months) == std::vector<int>{1, 3, 4, 5});
  CHECK(numbers(read("* * * * MON-fri").weekdays) == std::vector<int>{1, 2, 3, 4, 5});
  CHECK(numbers(read("30 5 4 3 2 *").seconds) == std::vector<int>{30});
  CHECK(numbers(read("5 4 3 2 *").seconds) == std::vector<int>{0});
  CHECK(numbers(read("08 007 * * *").hours) == std::vector<int>{7});
}

TEST_CASE("Sunday is 0 and 7, and ends a range as 7") {
  CHECK(numbers(read("* * * * 7").weekdays) == std::vector<int>{0});
  CHECK(numbers(read("* * * * 5-7").weekdays) == std::vector<int>{0, 5, 6});
  CHECK(numbers(read("* * * * FRI-SUN").weekdays) == std::vector<int>{0, 5, 6});
  CHECK(numbers(read("* * * * SUN-TUE").weekdays) == std::vector<int>{0, 1, 2});
  CHECK(numbers(read("* * * * 0-7").weekdays) == std::vector<int>{0, 1, 2, 3, 4, 5, 6});
}

TEST_CASE("blanks and tabs separate fields and surround them (K11)") {
  CHECK(read("\t 30  2\t* * *  ") == read("30 2 * * *"));
}

TEST_CASE("the @words stand for their expressions in either case (K8)") {
  CHECK(read("@yearly") == read("0 0 1 1 *"));
  CHECK(read("@annually") == read("0 0 1 1 *"));
  CHECK(read("@monthly") == read("0 0 1 * *"));
  CHECK(read("@weekly") == read("0 0 * * 0"));
  CHECK(read("@daily") == read("0 0 * * *"));
  CHECK(read("@DAILY") == read("0 0 * * *"));
  CHECK(read("@midnight") == read("0 0 * * *"));
  CHECK(read(" @hourly ") == read("0 * * * *"));
}

TEST_CASE("other @words are refused (K8)") {
  CHECK(is_refused_at("@reboot", 1, "not supported"));
  CHECK(is_refused_at("@every 0s", 1, "@every"));
  CHECK(is_refused_at("@every -5m", 1, "@every"));
  CHECK(is_refused_at("@every 1ns", 1, "@every"));
  CHECK(is_refused_at("@annually x", 1, "stands alone"));
  CHECK(is_refused_at("@fortnightly", 1, "not known"));
  CHECK(is_refused_at("@", 1, "not known"));
}

TEST_CASE("an expression with a wrong number of fields is refused where it goes wrong (K1)") {
  CHECK(is_refused_at("", 1, "empty"));
  CHECK(is_refused_at(" ", 1, "empty"));
  CHECK(is_refused_at("* * * *", 8, "4 fields"));
  CHECK(is_refused_at("* * * * * * *", 13, "seventh field"));
  CHECK(is_refused_at("* * * * * * * *", 13, "8 fields"));
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += "* ";
  CHECK(is_refused_at(many, 257, "longer than 256 bytes"));
  CHECK(refused(std::string(257, '*')).code == errc::limit);
  CHECK(is_refused_at(std::string(256, '*'), 257, "1 field instead"));
}

TEST_CASE("a list takes 64 items and no more") {
  const auto list = [](int n) {
    std::string text = "0";
    for (int i = 1; i < n; ++i) text += "," + std::to_string(i % 10);
    return text + " * * * *";
  };
  CHECK(numbers(read(list(64)).minutes).size() == 10);
  CHECK(is_refused_at(list(65), 129, "more than 64 items"));
  CHECK(refused(list(65)).code == errc::limit);
}

TEST_CASE("values outside their field's range are refused by field and position (K4)") {
  CHECK(is_refused_at("60 * * * *", 1, "field 1 (minute): 60 is outside 0-59"));
  CHECK(is_refused_at("* 24 * * *", 3, "field 2 (hour): 24 is outside 0-23"));
  CHECK(is_refused_at("* * 0 * *", 5, "field 3 (day of month): 0 is outside 1-31"));
  CHECK(is_refused_at("* * 32 * *", 5, "field 3 (day of month)"));
  CHECK(is_refused_at("* * * 13 *", 7, "field 4 (month): 13 is outside 1-12"));
  CHECK(is_refused_at("* * * 0 *", 7, "field 4 (month)"));
  CHECK(is_refused_at("* * * * 8", 9, "field 5 (day of week): 8 is outside 0-7"));
  CHECK(is_refused_at("60 * * * * *", 1, "field 1 (second)"));
  CHECK(is_refused_at("* 1,2,60 * * * *", 7, "field 2 (minute)"));
  CHECK(is_refused_at("99999999999999999999999 * * * *", 1, "outside 0-59"));
}

TEST_CASE("steps that make no sense are refused (K5)") {
  CHECK(is_refused_at("*/0 * * * *", 3, "step of 0"));
  CHECK(is_refused_at("*/-1 * * * *", 3, "whole number"));
  CHECK(is_refused_at("*/60 * * * *", 3, "a step of 60 leaves only the first value"));
  CHECK(is_refused_at("*/99999999999999999999 * * * *", 3, "a step of 99999999999999999999"));
  CHECK(is_refused_at("5/0 * * * *", 3, "step of 0"));
  CHECK(is_refused_at("1-5/6 * * * *", 5, "a step of 6"));
  CHECK(is_refused_at("5/15 * * * *", 2, "needs a range"));
  CHECK(refused("5/15 * * * *").hint == "write 5-59/15");
  CHECK(is_refused_at("*/ * * * *", 3, "whole number"));
  CHECK(is_refused_at("/5 * * * *", 1, "missing"));
  CHECK(numbers(read("*/59 * * * *").minutes) == std::vector<int>{0, 59});
  CHECK(numbers(read("1-5/4 * * * *").minutes) == std::vector<int>{1, 5});
}

TEST_CASE("malformed ranges and lists are refused (K6)") {
  CHECK(is_refused_at("5-1 * * * *", 1, "runs backwards"));
  CHECK(is_refused_at("* * * * SAT-MON", 9, "runs backwards"));
  CHECK(is_refused_at("-5 * * * *", 1, "missing"));
  CHECK(is_refused_at("1- * * * *", 3, "missing"));
  CHECK(is_refused_at("1--5 * * * *", 3, "second \"-\""));
  CHECK(is_refused_at("1-2-3 * * * *", 4, "second \"-\""));
  CHECK(is_refused_at("1,,2 * * * *", 3, "empty"));
  CHECK(is_refused_at(", * * * *", 1, "empty"));
  CHECK(is_refused_at("1, * * * *", 3, "empty"));
  CHECK(is_refused_at("*,1 * * * *", 1, "pointless"));
  CHECK(is_refused_at("1,* * * * *", 3, "pointless"));
  CHECK(is_refused_at("1/2/3 * * * *", 4, "second \"/\""));
  CHECK(is_refused_at("** * * * *", 1, "stands alone"));
  CHECK(is_refused_at("*-5 * * * *", 1, "stands alone"));
  CHECK(is_refused_at("0 5* * * *", 4, "stands alone"));
}

TEST_CASE("unknown names are refused with the nearest known one (K7)") {
  CHECK(is_refused_at("* * * xyz *", 7, "\"xyz\" is not a month"));
  CHECK(refused("* * * FEV *").hint == "did you mean FEB?");
  CHECK(refused("* * * * MOM").hint == "did you mean MON?");
  CHECK(is_refused_at("JAN * * * *", 1, "not a minute"));
  CHECK(is_refused_at("* * * MON *", 7, "not a month"));
  CHECK(is_refused_at("* * * * jan", 9, "not a day of week"));
}

TEST_CASE("letters of other dialects are refused by name (K7 as the specification overrules it)") {
  CHECK(is_refused_at("* * W * *", 5, "follows a day of the month"));
  CHECK(is_refused_at("* * 15w * *", 5, "capital letter"));
  CHECK(is_refused_at("* * LW * *", 5, "not supported"));
  CHECK(is_refused_at("* * 1-15W * *", 5, "stands alone"));
  CHECK(is_refused_at("* * 1W,15W * *", 5, "stands alone"));
  CHECK(is_refused_at("* * 1,15W * *", 7, "stands alone"));
  CHECK(is_refused_at("* * 32W * *", 5, "outside 1-31"));
  CHECK(is_refused_at("* * 0W * *", 5, "outside 1-31"));
  CHECK(is_refused_at("15W * * * *", 1, "not a minute"));
  CHECK(is_refused_at("* * * * W", 9, "follows a day of the month"));
  CHECK(is_refused_at("* * L-3 * *", 5, "stands alone"));
  CHECK(is_refused_at("* * L/2 * *", 5, "stands alone"));
  CHECK(is_refused_at("H * * * *", 1, "Jenkins"));
  CHECK(is_refused_at("H/15 * * * *", 1, "Jenkins"));
  CHECK(is_refused_at("L * * * *", 1, "day of month"));
  CHECK(is_refused_at("* * * * L", 9, "day of month"));
  CHECK(is_refused_at("* * l * *", 5, "capital letter"));
  CHECK(is_refused_at("* * 1#2 * *", 6, "day of week only"));
  CHECK(is_refused_at("* * * * FRI#6", 13, "1 to 5 or L"));
  CHECK(is_refused_at("* * * * FRI#0", 13, "1 to 5 or L"));
  CHECK(is_refused_at("* * * * FRI#", 13, "1 to 5 or L"));
  CHECK(is_refused_at("* * * * 1,#2", 11, "missing"));
  CHECK(is_refused_at("* * * * MON-FRI#2", 9, "one day"));
  CHECK(is_refused_at("* * * * MON-FRIL", 9, "one day"));
  CHECK(is_refused_at("* * +1 * MON", 5, "before the day of week only"));
  CHECK(is_refused_at("* * 1 * MON,+TUE", 13, "before the day of week only"));
  CHECK(is_refused_at("* * 1 * +", 9, "followed by nothing"));
  CHECK(is_refused_at("* * 1 * ++MON", 10, "before the day of week only"));
  CHECK(is_refused_at("? * * * *", 1, "\"?\" is for"));
  CHECK(is_refused_at("* * ?/2 * *", 5, "\"?\" stands alone"));
}

TEST_CASE("a question mark is a star in the day fields") {
  CHECK(read("0 0 ? * MON") == read("0 0 * * MON"));
  CHECK(read("0 0 1 * ?") == read("0 0 1 * *"));
}

TEST_CASE("characters without meaning are refused where they stand (K11)") {
  CHECK(is_refused_at("\xef\xbc\x8a * * * *", 1, "ASCII"));  // full-width star
  CHECK(is_refused_at("0 \xd9\xa1 * * *", 3, "ASCII"));      // Arabic-Indic digit one
  CHECK(is_refused_at("0 1 * * *\r\n", 10, "one line"));
  CHECK(is_refused_at("0 1 * * *\n0 2 * * *", 10, "one line"));
  CHECK(is_refused_at(std::string_view{"0 1 * * *\0", 10}, 10, "control character"));
  CHECK(is_refused_at("0 1 * * * # nightly", 11, "comment"));
  CHECK(is_refused_at("0 1 * * * #", 11, "comment"));
  CHECK(is_refused_at("% * * * *", 1, "\"%\" has no meaning"));
  CHECK(is_refused_at("1.5 * * * *", 2, "\".\" has no meaning"));
  CHECK(is_refused_at("+5 * * * *", 1, "before the day of week only"));
}

TEST_CASE("a time zone inside the expression is refused (K9)") {
  CHECK(is_refused_at("TZ=", 1, "time zone"));
  CHECK(is_refused_at("TZ=0", 1, "time zone"));
  CHECK(is_refused_at("TZ=TZ=TZ=", 1, "time zone"));
  CHECK(is_refused_at("CRON_TZ=UTC", 1, "time zone"));
  CHECK(is_refused_at("CRON_TZ=Europe/Berlin 0 1 * * *", 1, "time zone"));
  CHECK(is_refused_at("TZ=../../etc/passwd 0 1 * * *", 1, "time zone"));
  CHECK(refused("TZ=" + std::string(10 * 1024, 'x')).code == errc::limit);
}

TEST_CASE("an expression that never fires is refused at once (K2)") {
  for (const char* text : {"0 0 30 2 *", "0 0 31 4 *", "0 0 31 2,4,6 *", "0 0 30-31 2 *", "0 0 31 2-2 ?"}) {
    CHECK(is_refused_at(text, 5, "never fires"));
    auto best = std::chrono::steady_clock::duration::max();
    for (int round = 0; round < 20; ++round) {
      const auto start = std::chrono::steady_clock::now();
      static_cast<void>(parse_cron(text));
      best = std::min(best, std::chrono::steady_clock::now() - start);
    }
    CHECK(best < std::chrono::milliseconds{1});
  }
  CHECK(is_refused_at("30 0 0 30 2 *", 8, "never fires"));
  CHECK(refused("0 0 29 2 *").detail.empty());
  CHECK(refused("0 0 30 2 MON").detail.empty());  // either day is enough
  CHECK(refused("0 0 31 2,3 *").detail.empty());
}

TEST_CASE("both day fields restricted: either is enough, unless one begins with a star (K10)") {
  CHECK(first_after("0 12 13 * FRI", {2026, 3, 1}) == "2026-03-06T12:00:00");
  CHECK(first_after("0 12 13 * FRI", {2026, 5, 9}) == "2026-05-13T12:00:00");
  CHECK(first_after("0 12 */2 * MON", {2026, 3, 1}) ==
        "2026-03-09T12:00:00");  // the 2nd is a Monday but even
}

TEST_CASE("L and # pick days by their place in the month") {
  CHECK(first_after("0 0 L * *", {2026, 1, 31}) == "2026-02-28T00:00:00");
  CHECK(first_after("0 0 L 2 *", {2027, 3, 1}) == "2028-02-29T00:00:00");
  CHECK(first_after("0 0 15,L * *", {2026, 4, 15}) == "2026-04-30T00:00:00");
  CHECK(first_after("0 0 * * FRI#2", {2026, 5, 1}) == "2026-05-08T00:00:00");
  CHECK(first_after("0 0 * * 5L", {2026, 5, 1}) == "2026-05-29T00:00:00");
  CHECK(first_after("0 0 * * FRI#L", {2026, 5, 1}) == "2026-05-29T00:00:00");
  CHECK(first_after("0 0 * * friL", {2026, 5, 1}) == "2026-05-29T00:00:00");
  CHECK(first_after("0 0 * * MON#5", {2026, 4, 1}) == "2026-06-29T00:00:00");
  CHECK(first_after("0 0 * 2 MON#5", {2026, 1, 1}) == "2044-02-29T00:00:00");
  CHECK(first_after("0 0 * * 7#1", {2026, 5, 4}) == "2026-06-07T00:00:00");
  CHECK(first_after("0 0 1 * MON#1,FRI#3", {2026, 5, 4}) == "2026-05-15T00:00:00");
}

TEST_CASE("W is the weekday nearest to a day, within its month") {
  CHECK(first_after("0 12 15W * *", {2026, 7, 1}) == "2026-07-15T12:00:00");   // a Wednesday
  CHECK(first_after("0 12 15W * *", {2026, 8, 1}) == "2026-08-14T12:00:00");   // a Saturday
  CHECK(first_after("0 12 15W * *", {2026, 11, 1}) == "2026-11-16T12:00:00");  // a Sunday
  CHECK(first_after("0 12 1W * *", {2026, 8, 1}) == "2026-08-03T12:00:00");    // Saturday the 1st: not July
  CHECK(first_after("0 12 31W * *", {2026, 5, 1}) == "2026-05-29T12:00:00");   // Sunday the 31st: not June
  CHECK(first_after("0 12 31W * *", {2026, 4, 1}) == "2026-05-29T12:00:00");   // April has no 31st
  CHECK(first_after("0 12 15W * MON", {2026, 8, 11}) == "2026-08-14T12:00:00");
  CHECK(is_refused_at("0 0 30W 2 *", 5, "never fires"));
}

TEST_CASE("a plus before the day of week wants both day fields to match") {
  CHECK(first_after("0 12 13 * +FRI", {2026, 3, 14}) == "2026-11-13T12:00:00");
  CHECK(first_after("0 12 1 * +MON-WED", {2026, 2, 1}) == "2026-04-01T12:00:00");
  CHECK(first_after("0 12 L * +FRI#L", {2026, 1, 1}) == "2026-07-31T12:00:00");
  CHECK(read("0 12 1 * +*") == read("0 12 1 * *"));
}

TEST_CASE("29 February asked for in March 2096 is in 2104, since 2100 is no leap year (K3)") {
  CHECK(first_after("0 0 29 2 *", {2096, 3, 1}) == "2104-02-29T00:00:00");
}

TEST_CASE("a hint that is an expression can be used as it is") {
  const auto refused = [](int field, const std::string& item) {
    std::array<std::string, 6> fields{"0", "*", "*", "*", "*", "*"};
    const auto text = [&](const std::string& instead) {
      fields[static_cast<std::size_t>(field)] = instead;
      return fmt::format("{}", fmt::join(fields, " "));
    };
    const auto wrong = parse_cron(text(item));
    REQUIRE_FALSE(wrong.has_value());
    const std::string& hint = wrong.error().hint;
    if (!hint.starts_with("write ") || hint.size() < 7 || !std::isdigit(hint[6])) return false;
    const std::string instead = hint.substr(6, hint.find_first_of(" ", 6) - 6);
    INFO(item << " in field " << field << ": " << hint);
    CHECK(parse_cron(text(instead.substr(0, instead.find_last_not_of(',') + 1))).has_value());
    return true;
  };
  const std::array<std::pair<int, int>, 6> ranges{{{0, 59}, {0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}}};
  int hints = 0;
  for (int field = 0; field < 6; ++field) {
    const auto [low, high] = ranges[static_cast<std::size_t>(field)];
    for (int value = low; value <= high; ++value) {
      for (int step = 1; step <= high; ++step)
        hints += refused(field, fmt::format("{}/{}", value, step)) ? 1 : 0;
      for (int last = low; last < value; ++last)
        hints += refused(field, fmt::format("{}-{}", value, last)) ? 1 : 0;
    }
  }
  CHECK(hints > 5'000);
  CHECK(parse_cron("0 0 * * 7/2").error().hint == "write 0-7/2");
}

TEST_CASE("the search ends at the year 2400 (K22)") {
  CHECK(first_after("59 59 23 31 12 *", {2400, 1, 1}) == "2400-12-31T23:59:59");
  CHECK(first_after("59 59 23 31 12 *", {2400, 12, 31, 23, 59, 59}) == "never");
  CHECK(first_after("* * * * *", {9999, 1, 1}) == "never");
  CHECK(first_after("0 0 1 1 *", {2037, 12, 31}) == "2038-01-01T00:00:00");
  CHECK_FALSE(match_at_or_before(read("* * * * *"), civil_to_seconds({1899, 12, 31, 23, 59, 59})));
  CHECK(match_at_or_before(read("0 0 1 1 *"), civil_to_seconds({9999, 1, 1})) ==
        civil_to_seconds({2400, 1, 1}));
}

TEST_CASE("searching forwards and backwards finds exactly the matching seconds") {
  for (const char* text :
       {"*/7 1-5 * * * *", "5,59 * 0,23 * * *", "0 0 29 2 *", "30 12 L * FRI#L", "0 0 31 * *"}) {
    const field_set fields = read(text);
    const local_seconds begin = civil_to_seconds({2023, 12, 30}), end = civil_to_seconds({2024, 3, 3});
    std::vector<local_seconds> forwards, backwards, plain;
    for (auto t = match_at_or_after(fields, begin); t && *t < end; t = match_at_or_after(fields, *t + 1)) {
      forwards.push_back(*t);
    }
    for (auto t = match_at_or_before(fields, end - 1); t && *t >= begin;
         t = match_at_or_before(fields, *t - 1)) {
      backwards.insert(backwards.begin(), *t);
    }
    const bool dense = forwards.size() > 1'000;  // every second is walked for two days of those only
    for (local_seconds t = begin; t < (dense ? begin + 2 * 86'400 : end); t += dense ? 1 : 60) {
      if (matches(fields, t)) plain.push_back(t);
    }
    CHECK(forwards == backwards);
    REQUIRE(forwards.size() >= plain.size());
    CHECK(std::vector<local_seconds>(forwards.begin(), forwards.begin() + static_cast<long>(plain.size())) ==
          plain);
    if (!dense) CHECK(forwards.size() == plain.size());
  }
}
