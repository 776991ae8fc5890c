// Zone tables by Abseil's time library, which reads the system's TZif files. Names are checked before it sees
// them: it would open any path, and has names of its own such as `localtime`.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <absl/time/civil_time.h>
#include <absl/time/time.h>
#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/server/zones.hpp>

namespace orchestrator::server {
namespace {

constexpr std::size_t longest_name = 64;          // the longest IANA name has 32 characters
constexpr std::size_t index_bytes = 1024 * 1024;  // tzdata.zi has about 110 KiB
constexpr std::size_t known_names_max = 4'000;    // about 600 exist
constexpr std::size_t transitions_max = 10'000;   // two a year for 500 years are 1,000
constexpr int first_year = 1900;
constexpr int last_year = 2400;

bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Every IANA name begins with a capital, which leaves out `localtime`, `posixrules` and the `right/` zones
/// (they count leap seconds, our clock does not).
bool is_zone_name(std::string_view name) {
  if (name.empty() || name.size() > longest_name || name[0] < 'A' || name[0] > 'Z') return false;
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter(c) || is_digit(c) || std::string_view{"_+-/"}.find(c) != std::string_view::npos;
  });
  return plain && name.back() != '/' && name.find("//") == std::string_view::npos;
}

std::string lower(std::string_view text) {
  std::string out{text};
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string zone_directory() {
  const char* directory = std::getenv("TZDIR");
  return directory != nullptr ? directory : "/usr/share/zoneinfo";
}

/// What changes with the index of the system's zones, which every update replaces.
struct index_stamp {
  dev_t device = 0;
  ino_t inode = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const index_stamp&) const = default;
};

index_stamp read_stamp() {
  struct ::stat found{};
  if (::stat((zone_directory() + "/tzdata.zi").c_str(), &found) != 0) return {};
  return {found.st_dev, found.st_ino,
          found.st_ctim.tv_sec * std::int64_t{1'000'000'000} + found.st_ctim.tv_nsec};
}

/// Which version of the zone data is read now.
struct data_version {
  index_stamp used = read_stamp(), seen = used;
  int number = 0;
};
data_version& version() {
  static data_version now;
  return now;
}

/// Abseil keeps for ever what it read under a name, so that each later version has a spelling of its own.
std::string spelling(const std::string& name) {
  const int number = version().number;
  if (number == 0) return name;
  std::string path = zone_directory() + "/";
  for (int i = 0; i < number; ++i) path += "./";
  return path + name;
}

/// The names of the zones ("Z name ...") and links ("L target name") in the system's zone index; none if it
/// has no such file.
std::vector<std::string> known_names() {
  std::ifstream index{zone_directory() + "/tzdata.zi"};
  std::vector<std::string> names;
  std::string line;
  std::size_t read = 0;
  while (names.size() < known_names_max && read < index_bytes && std::getline(index, line)) {
    read += line.size() + 1;
    if (!line.starts_with("Z ") && !line.starts_with("L ")) continue;
    const std::size_t second = line.find(' ', 2);
    if (second == std::string::npos) continue;
    names.push_back(line[0] == 'Z' ? line.substr(2, second - 2) : line.substr(second + 1));
  }
  return names;
}

/// People leave out the region or get the case wrong more often than they mistype a letter.
std::optional<std::string> nearest_zone(std::string_view name) {
  const std::vector<std::string> names = known_names();
  const std::string wanted = lower(name);
  std::vector<std::string> lower_names;
  lower_names.reserve(names.size());
  for (const std::string& known : names) lower_names.push_back(lower(known));
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (lower_names[i] == wanted || lower_names[i].ends_with("/" + wanted)) return names[i];
  }
  const std::vector<std::string_view> candidates{lower_names.begin(), lower_names.end()};
  const auto near = nearest(wanted, candidates);
  if (!near) return std::nullopt;
  return names[static_cast<std::size_t>(std::find(lower_names.begin(), lower_names.end(), *near) -
                                        lower_names.begin())];
}

refusal refuse(const std::string& name, const char* why) {
  refusal r{.code = errc::bad_field,
            .detail = fmt::format("\"{}\" {}", printable(name, longest_name), why),
            .pointer = "/schedule/time_zone",
            .hint = "give an IANA name such as \"Europe/Berlin\""};
  if (name.size() <= longest_name) {
    if (const auto near = nearest_zone(name)) r.hint = "did you mean \"" + *near + "\"?";
  }
  return r;
}

std::int32_t offset_at(const absl::TimeZone& zone, std::int64_t t) {
  return zone.At(absl::FromUnixSeconds(t)).offset;
}

std::int64_t start_of_year(int year) {
  return absl::ToUnixSeconds(absl::FromCivil(absl::CivilSecond{year}, absl::UTCTimeZone()));
}

}  // namespace

result<zone_table> load_zone_table(const std::string& name) {
  if (!is_zone_name(name)) return refuse(name, "is not the name of a time zone");
  absl::TimeZone zone;
  if (!absl::LoadTimeZone(spelling(name), &zone)) return refuse(name, "is not a time zone this system knows");
  const std::int64_t end = start_of_year(last_year + 1);
  std::int64_t t = start_of_year(first_year);
  zone_table table{.name = name, .first_offset = offset_at(zone, t), .transitions = {}};
  std::int32_t offset = table.first_offset;
  absl::TimeZone::CivilTransition change;
  while (table.transitions.size() < transitions_max &&
         zone.NextTransition(absl::FromUnixSeconds(t), &change)) {
    // The instant by the offset that held until then: the civil time after the change may be ambiguous.
    t = absl::ToUnixSeconds(absl::FromCivil(change.from, absl::UTCTimeZone())) - offset;
    if (t >= end) break;
    const std::int32_t before = offset;
    offset = offset_at(zone, t);
    if (offset != before) table.transitions.push_back({t, offset});
  }
  return table;
}

bool zone_data_changed() {
  data_version& v = version();
  const index_stamp present = read_stamp();
  // An update replaces file after file: it is over when nothing has changed from one look to the next.
  if (present == v.used || present != std::exchange(v.seen, present)) return false;
  v.used = present;
  ++v.number;
  return true;
}

}  // namespace orchestrator::server
