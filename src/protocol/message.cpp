// The wire's words for how a job ended.
#include <orchestrator/protocol/message.hpp>

namespace orchestrator::protocol {

const char* to_string(result_status s) {
  switch (s) {
    case result_status::success: return "SUCCESS";
    case result_status::failure: return "FAILURE";
    case result_status::error: return "ERROR";
    case result_status::timeout: return "TIMEOUT";
    case result_status::cancelled: return "CANCELLED";
    case result_status::rejected: return "REJECTED";
    case result_status::lost: return "LOST";
  }
  return "INVALID";
}

}  // namespace orchestrator::protocol
