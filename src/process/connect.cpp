// connect_supervisor: finds the living supervisor of a work dir, or makes one. The lock decides which of the
// two.
#include <fcntl.h>
#include <time.h>

#include <cerrno>
#include <chrono>

#include <orchestrator/process/supervisor.hpp>

#include "client.hpp"
#include "process_limits.hpp"
#include "supervisor_fork.hpp"
#include "supervisor_lock.hpp"

namespace orchestrator::process {

namespace {

constexpr int forks_max = 3;  ///< a supervisor that ends at once will do so again
constexpr milliseconds retry_pause{10};
constexpr milliseconds ending_patience{
    1000};  ///< a dying process lets go of its files shortly before it is dead

void sleep_for(milliseconds pause) {
  const timespec wait{0, static_cast<long>(std::chrono::nanoseconds(pause).count())};
  ::nanosleep(&wait, nullptr);
}

/// The supervisor's socket is there and listening before it is forked, so that nobody has to wait for it to
/// appear.
boost::system::error_code start_supervisor(int work_dir, unique_fd lock) {
  auto spool = open_spool_dir(work_dir);
  if (!spool) return spool.error();
  auto listener = listen_in(work_dir);
  if (!listener) return listener.error();
  unique_fd folder(::fcntl(work_dir, F_DUPFD_CLOEXEC, 0));
  if (!folder) return {errno, boost::system::system_category()};
  supervisor_files files{std::move(folder), std::move(lock), std::move(*listener), std::move(*spool)};
  return fork_supervisor(files);
}

/// While its lock is free.
bool owner_lives(int work_dir) {
  const auto owner = read_lock_owner(work_dir);
  return owner && is_alive(*owner);
}

bool is_foreign(int work_dir) {
  const auto owner = read_lock_owner(work_dir);
  return owner && owner->pid_namespace != 0 && owner->pid_namespace != read_pid_namespace();
}

}  // namespace

bool is_in_use_elsewhere(const boost::system::error_code& error) {
  return error == make_error_code(connect_errc::elsewhere);
}

int living_supervisor(const std::filesystem::path& work_dir) {
  const auto text = read_small_file((work_dir / "supervisor.lock").string(), 4096);
  const auto owner = text ? parse_identity(*text) : std::nullopt;
  return owner && is_alive(*owner) ? owner->pid : 0;
}

boost::system::result<std::unique_ptr<supervisor_client>> connect_supervisor(
    const std::filesystem::path& work_dir) {
  const auto folder = open_work_dir(work_dir);
  if (!folder) return folder.error();
  const auto deadline = read_boot_clock() + limits::hello_patience;
  const auto give_up_replacing = deadline - limits::hello_patience / 2;
  const auto give_up_ending = read_boot_clock() + ending_patience;
  int forks = 0;
  for (;;) {
    auto lock = try_lock(folder->get());
    if (!lock) return lock.error();
    const bool fresh = static_cast<bool>(*lock);
    if (fresh && owner_lives(folder->get())) {
      // It is ending, and has let go of the lock already; or it holds that of another directory.
      if (read_boot_clock() >= give_up_ending) return make_error_code(connect_errc::elsewhere);
      lock->reset();
      sleep_for(retry_pause);
      continue;
    }
    if (fresh) {
      if (++forks > forks_max) return make_error_code(connect_errc::ended);
      if (const auto error = start_supervisor(folder->get(), std::move(*lock))) return error;
    }
    boost::system::error_code error = make_error_code(connect_errc::silent);
    if (auto socket = connect_in(folder->get())) {
      auto made = client::handshake(std::move(*socket), deadline, fresh);
      if (made && is_foreign(folder->get())) return make_error_code(connect_errc::foreign_namespace);
      if (made && (*made)->is_outdated_and_idle() && read_boot_clock() < give_up_replacing) {
        (*made)->end_supervisor();
        sleep_for(retry_pause);
        continue;
      }
      if (made) return std::unique_ptr<supervisor_client>(std::move(*made));
      error = made.error();
      if (error != make_error_code(connect_errc::ended)) return error;
    }
    // It is just coming or just going: it holds the lock, but its socket is not there or was closed on us.
    if (read_boot_clock() >= deadline) return error;
    sleep_for(retry_pause);
  }
}

}  // namespace orchestrator::process
