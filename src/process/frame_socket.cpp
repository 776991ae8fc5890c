// Buffers around recv and send: see frame_socket.hpp.
#include "frame_socket.hpp"

#include <sys/socket.h>

#include <cerrno>

#include "process_limits.hpp"

namespace orchestrator::process {

bool frame_socket::fill() {
  if (at_end_ || broken_) return false;
  if (taken_ > 0) {
    in_.erase(0, taken_);
    taken_ = 0;
  }
  // Enough for the largest frame is here: let the owner take it first.
  if (in_.size() >= limits::frame_bytes + limits::read_bytes) return false;
  const auto before = in_.size();
  in_.resize(before + limits::read_bytes);
  ssize_t got = 0;
  do {
    got = ::recv(socket_.get(), in_.data() + before, limits::read_bytes, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  const bool would_block = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  in_.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
  if (got == 0 || (got < 0 && !would_block)) at_end_ = true;
  return got > 0;
}

std::optional<frame> frame_socket::next() { return take_frame(in_, taken_, broken_); }

void frame_socket::flush() {
  while (sent_ < out_.size() && !deaf_) {
    const auto sent =
        ::send(socket_.get(), out_.data() + sent_, out_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      sent_ += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      deaf_ = true;
    }
  }
  if (sent_ == out_.size() || deaf_) {
    out_.clear();
    sent_ = 0;
  } else if (sent_ > out_.size() / 2) {
    out_.erase(0, sent_);
    sent_ = 0;
  }
}

void frame_socket::stop_receiving() { ::shutdown(socket_.get(), SHUT_RD); }

}  // namespace orchestrator::process
