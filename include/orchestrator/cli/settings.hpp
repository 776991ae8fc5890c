// Settings of every role from four places: flags > ORCHESTRATOR_* environment > orchestrator.toml > defaults,
// each value with its origin. CLI11 reads the flags only; it would rank the file above the environment.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator::cli {

/// One setting. The environment name is derived from the flag: `--lease-ttl` is ORCHESTRATOR_LEASE_TTL; the
/// file key is `lease_ttl` in the role's table.
struct setting {
  enum class kind { text, list, number, duration, boolean, choice };
  std::string_view flag;  ///< without the dashes
  kind what = kind::text;
  std::string_view fallback;  ///< as it would be written on the command line
  std::string_view help;
  std::string_view place = "";     ///< placeholder in --help: HOST:PORT
  std::string_view choices = "";   ///< kind::choice: a|b|c
  std::int64_t low = 0, high = 0;  ///< kind::number: range; kind::duration: range in ms
};

std::span<const setting> server_settings();
std::span<const setting> worker_settings();
std::span<const setting> client_settings();

struct setting_value {
  std::vector<std::string> values;  ///< one, or several for a list
  std::string origin;  ///< "flag", "ORCHESTRATOR_LISTEN", "/etc/…/orchestrator.toml:3", "default"
};

/// The merged settings of one role; every value was checked against its kind and range.
class settings {
 public:
  std::map<std::string, setting_value, std::less<>> values;

  std::string text(std::string_view flag) const;
  std::vector<std::string> list(std::string_view flag) const;
  std::int64_t number(std::string_view flag) const;
  milliseconds duration(std::string_view flag) const;
  bool boolean(std::string_view flag) const;
};

/// `flags`: what stood on the command line, by flag. `role` is the table of the file: server, worker or
/// client. `config_path`: --config; empty looks in the two usual places. A refusal says where the wrong value
/// stands.
result<settings> merge_settings(std::string_view role, std::span<const setting> known,
                                const std::map<std::string, std::vector<std::string>>& flags,
                                const std::string& config_path);

std::string environment_name(std::string_view flag);

}  // namespace orchestrator::cli
