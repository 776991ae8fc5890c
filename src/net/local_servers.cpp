// Coordinators of the same user on this machine. See local_servers.hpp.
#include <orchestrator/net/local_servers.hpp>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

namespace orchestrator::net {
namespace fs = std::filesystem;
namespace {

fs::path record_of(const std::string& host, std::uint16_t port) {
  return state_dir() / "servers" / fmt::format("{}:{}", host, port) / "data_dir";
}

}  // namespace

fs::path state_dir() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return fs::path(state) / "orchestrator";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr && *home == '/' ? home : "/") / ".local/state/orchestrator";
}

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
  return line;
}

boost::system::error_code write_line(const fs::path& file, const std::string& line) {
  const fs::path unfinished = file.string() + ".new";
  ::unlink(unfinished.c_str());  // of a process that was killed here
  const int fd = ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const std::string text = line + "\n";
  const bool written = fd >= 0 &&
                       ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!written) return {error, boost::system::system_category()};
  if (::rename(unfinished.c_str(), file.c_str()) != 0) return {errno, boost::system::system_category()};
  // The name is the directory's, and is on disk when that is.
  const int folder = ::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool named = folder >= 0 && ::fsync(folder) == 0;
  const int naming_error = errno;
  if (folder >= 0) ::close(folder);
  if (!named) return {naming_error, boost::system::system_category()};
  return {};
}

bool is_loopback_name(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::optional<std::string> record_server(const std::string& host, std::uint16_t port,
                                         const fs::path& data_dir) {
  const fs::path record = record_of(host, port);
  std::error_code ec;
  fs::create_directories(record.parent_path(), ec);
  if (ec) return fmt::format("cannot create {}: {}", record.parent_path().string(), ec.message());
  fs::path temporary = record;
  temporary += fmt::format(".{}", ::getpid());
  std::ofstream out(temporary);
  out << fs::absolute(data_dir).string() << '\n';
  out.close();
  if (!out) return fmt::format("cannot write {}", temporary.string());
  fs::rename(temporary, record, ec);
  if (ec) return fmt::format("cannot write {}: {}", record.string(), ec.message());
  return std::nullopt;
}

void forget_server(const fs::path& data_dir) {
  const std::string wanted = fs::absolute(data_dir).string();
  std::error_code ec;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(state_dir() / "servers", ec)) {
    if (first_line(entry.path() / "data_dir") == wanted) found.push_back(entry.path());
  }
  for (const fs::path& record : found) fs::remove_all(record, ec);
}

std::string find_local_token(const std::string& host, std::uint16_t port, const std::string& kind) {
  if (!is_loopback_name(host)) return "";
  for (const std::string& name : {host, std::string("127.0.0.1"), std::string("localhost")}) {
    const std::string dir = first_line(record_of(name, port));
    if (dir.empty()) continue;
    const std::string token = first_line(fs::path(dir) / (kind + ".token"));
    if (!token.empty()) return token;
  }
  return "";
}

}  // namespace orchestrator::net
