// Accepting, replacing and serving daemons: see daemon_link.hpp.
#include "daemon_link.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

#include "process_limits.hpp"

namespace orchestrator::process {

daemon_link::daemon_link(unique_fd listener, int epoll) : listener_(std::move(listener)), epoll_(epoll) {
  watch(listener_.get());
}

void daemon_link::watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<std::uint32_t>(fd);
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
}

void daemon_link::watch_writable(bool wanted) {
  if (wanted == writable_watched_) return;
  writable_watched_ = wanted;
  epoll_event event{};
  event.events = EPOLLIN | (wanted ? EPOLLOUT : 0u);
  event.data.u64 = static_cast<std::uint32_t>(daemon_.fd());
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, daemon_.fd(), &event);
}

void daemon_link::accept(boot_time now) {
  for (;;) {
    unique_fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return;
    watch(socket.get());
    if (candidates_.size() == limits::candidates) candidates_.erase(candidates_.begin());
    candidates_.push_back({frame_socket(std::move(socket)), now, false});
  }
}

void daemon_link::on_event(int fd) {
  if (daemon_.is_open() && daemon_.fd() == fd) {
    daemon_.fill();
    return;
  }
  for (auto& candidate : candidates_) {
    if (candidate.socket.fd() != fd) continue;
    candidate.socket.fill();
    if (candidate.said_hello) return;
    if (const auto first = candidate.socket.next()) {
      candidate.said_hello = first->kind == message_kind::daemon_hello;
      if (!candidate.said_hello)
        candidate.since = boot_time{};  // speaks something else: dropped at the next flush
    }
  }
}

bool daemon_link::replace(const handler& handle) {
  const auto next =
      std::find_if(candidates_.begin(), candidates_.end(), [](const candidate& c) { return c.said_hello; });
  if (next == candidates_.end()) return false;
  if (daemon_.is_open()) retire(handle);
  daemon_ = std::move(next->socket);
  candidates_.erase(next);
  writable_watched_ = false;
  return true;
}

void daemon_link::retire(const handler& handle) {
  daemon_.stop_receiving();
  do {
    while (const auto message = daemon_.next()) handle(*message);
  } while (daemon_.fill());
  while (const auto message = daemon_.next()) handle(*message);
  daemon_.queue(encode_lease(message_kind::replaced, 0));
  daemon_.flush();
  daemon_.close();
}

bool daemon_link::deliver(const handler& handle, int limit) {
  undelivered_ = false;
  if (!daemon_.is_open()) return false;
  // A daemon that does not read its news gets no more work done: its messages wait in its own queue.
  if (daemon_.queued_bytes() >= limits::link_queue_bytes && !daemon_.at_end()) return false;
  int starts = 0;
  while (starts < limit) {
    const auto message = daemon_.next();
    if (!message) return false;
    if (message->kind == message_kind::start) ++starts;
    handle(*message);
  }
  undelivered_ = true;
  return true;
}

bool daemon_link::flush(boot_time now) {
  std::erase_if(candidates_, [now](const candidate& c) {
    return c.socket.at_end() || c.socket.broken() ||
           (!c.said_hello && now - c.since > limits::hello_patience);
  });
  if (!daemon_.is_open()) return false;
  daemon_.flush();
  if (daemon_.broken() || (daemon_.at_end() && !undelivered_)) {
    daemon_.close();
    return true;
  }
  watch_writable(daemon_.queued_bytes() > 0);
  return false;
}

}  // namespace orchestrator::process
