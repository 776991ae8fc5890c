// A non-blocking stream socket that carries frames. Both the daemon's and the supervisor's end are one of
// these; the owner decides when to read, how much may wait to be sent, and what the end of the stream means.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "unique_fd.hpp"
#include "wire.hpp"

namespace orchestrator::process {

class frame_socket {
 public:
  frame_socket() = default;
  /// Takes a connected socket that was opened non-blocking.
  explicit frame_socket(unique_fd socket) : socket_(std::move(socket)) {}

  int fd() const { return socket_.get(); }
  bool is_open() const { return static_cast<bool>(socket_); }
  void close() { *this = frame_socket(); }

  /// One read. True if there may be more to read at once.
  bool fill();
  /// The next whole message that was read.
  std::optional<frame> next();
  /// The peer will send nothing more; next() may still have messages.
  bool at_end() const { return at_end_; }
  /// The stream cannot be understood any more.
  bool broken() const { return broken_; }

  void queue(const std::string& bytes) {
    if (!deaf_) out_ += bytes;
  }
  /// Sends what the socket takes without waiting. A peer that is gone makes the rest vanish; its own end says
  /// so.
  void flush();
  std::size_t queued_bytes() const { return out_.size() - sent_; }
  /// Nothing the peer sends from now on arrives; what is in the socket already can still be read, then
  /// at_end().
  void stop_receiving();

 private:
  unique_fd socket_;
  std::string in_;
  std::size_t taken_ = 0;  ///< bytes of in_ that next() has returned
  std::string out_;
  std::size_t sent_ = 0;  ///< bytes of out_ that are on their way
  bool at_end_ = false;
  bool broken_ = false;
  bool deaf_ = false;  ///< the peer reads no more
};

}  // namespace orchestrator::process
