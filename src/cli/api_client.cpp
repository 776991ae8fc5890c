// Calls of the HTTP API from the command line. See api_client.hpp.
#include "api_client.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/net/http.hpp>
#include <orchestrator/net/local_servers.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "output.hpp"

namespace orchestrator::cli {
namespace fs = std::filesystem;
namespace asio = boost::asio;
namespace {

constexpr auto retry_pause = std::chrono::milliseconds{200};
constexpr auto stream_silence = std::chrono::hours{24};  ///< a quiet job may print nothing for long

int exit_of_status(int status) {
  switch (status) {
    case 400:  // what was given cannot be: the flags and files are ours
    case 413:
    case 414: return exit_usage;
    case 401:
    case 403: return exit_not_authorised;
    case 404: return exit_not_found;
    case 409:
    case 412:
    case 422: return exit_conflict;
    default: return exit_refused;
  }
}

/// The problem's detail, the field it names, and what to do, in one line.
failure from_problem(int status, const std::string& body) {
  failure f{exit_of_status(status), fmt::format("the coordinator answered {}", status), body};
  const auto parsed = protocol::parse_json(body);
  if (!parsed || !parsed->is_object()) return f;
  const json::object& o = parsed->as_object();
  const auto text = [&o](const char* key) {
    const json::value* v = o.if_contains(key);
    return v != nullptr && v->is_string() ? std::string(v->as_string()) : std::string{};
  };
  if (const std::string detail = text("detail"); !detail.empty()) f.message = detail;
  if (status == 401) {  // the hint is for those who write requests themselves
    f.message +=
        "; --token-file takes a file with a token, such as admin.token in the server's data directory";
  } else if (const std::string hint = text("hint"); !hint.empty()) {
    f.message += (f.message.ends_with('.') ? " " : "; ") + hint;
  }
  return f;
}

}  // namespace

std::string url_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) != 0 || c == '-' || c == '_' || c == '.' || c == '~')
      out += c;
    else
      out += fmt::format("%{:02X}", u);
  }
  return out;
}

struct api_client::connection {
  asio::io_context io{1};
  std::unique_ptr<net::http_client> http = net::make_http_client(io.get_executor());

  /// Nothing if `until` came first: the call is then still under way, and the connection must not be used
  /// again.
  std::optional<net::http_result> call(net::http_call request, steady_time until) {
    const auto out = std::make_shared<std::optional<net::http_result>>();
    io.restart();
    asio::co_spawn(io, http->call(std::move(request)),
                   [out](const std::exception_ptr& error, net::http_result r) {
                     if (error) std::rethrow_exception(error);
                     *out = std::move(r);
                   });
    // The client may keep a connection open: only this call is waited for.
    while (!*out && io.run_one_until(until) > 0) {
    }
    return std::move(*out);
  }
};

api_client::api_client(const settings& values) : connection_(std::make_unique<connection>()) {
  const auto url = net::parse_server_url(values.text("server"));
  if (!url) throw failure{exit_usage, fmt::format("--server: {}", url.error().detail), ""};
  if (url->tls)
    throw failure{exit_usage, "--server: https:// is not supported by this version; use http://", ""};
  base_ = url->http();
  const std::string file = values.text("token-file");
  if (!file.empty()) {
    token_ = net::first_line(file);
    if (token_.empty())
      throw failure{exit_usage, fmt::format("--token-file: cannot read a token from {}", file), ""};
    return;
  }
  token_ = net::find_local_token(url->host, url->port, "admin");
}

api_client::~api_client() = default;

api_answer api_client::call(const std::string& method, const std::string& path, const json::value& body,
                            header_list headers, std::chrono::milliseconds timeout) {
  net::http_call request;
  request.method = method;
  request.url = base_ + path;
  if (!body.is_null()) request.body = protocol::write_json(body);
  request.headers = std::move(headers);
  if (!token_.empty()) request.headers.emplace_back("Authorization", "Bearer " + token_);
  request.timeout = timeout;
  net::http_result r = *connection_->call(std::move(request), steady_time::max());
  if (r.status == 0) {
    throw failure{
        exit_unreachable,
        fmt::format("cannot reach the coordinator at {}: {}; start one with `orchestrator --role=server`, or "
                    "name another with --server",
                    base_, r.message),
        ""};
  }
  if (r.status < 200 || r.status > 299) throw from_problem(r.status, r.body);
  api_answer out;
  out.status = r.status;
  out.headers = std::move(r.headers);
  if (!r.body.empty()) {
    auto parsed = protocol::parse_json(r.body);
    if (!parsed)
      throw failure{exit_refused, "the answer is not JSON: is this an orchestrator server?", r.body};
    out.body = std::move(*parsed);
  }
  return out;
}

api_answer api_client::call_patiently(const std::string& method, const std::string& path,
                                      const json::value& body, const header_list& headers,
                                      std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  bool told = false;
  while (true) {
    try {
      return call(method, path, body, headers, std::chrono::seconds{90});
    } catch (const failure& f) {
      if (f.code != exit_unreachable || std::chrono::steady_clock::now() > until) throw;
      if (!std::exchange(told, true)) tell("orchestrator: the coordinator does not answer; trying again");
    }
    std::this_thread::sleep_for(retry_pause);
  }
}

bool api_client::stream_lines(const std::string& path, header_list headers,
                              std::function<bool(std::string_view line)> line, steady_time until) {
  net::http_call request;
  request.url = base_ + path;
  request.headers = std::move(headers);
  if (!token_.empty()) request.headers.emplace_back("Authorization", "Bearer " + token_);
  request.timeout = stream_silence;
  std::string rest;
  bool stopped = false;
  request.on_data = [&](std::string_view data) {
    rest += data;
    std::size_t from = 0;
    for (std::size_t end = rest.find('\n'); end != std::string::npos && !stopped;
         end = rest.find('\n', from)) {
      stopped = !line(std::string_view(rest).substr(from, end - from));
      from = end + 1;
    }
    rest.erase(0, from);
    return !stopped;
  };
  const auto answered = connection_->call(std::move(request), until);
  if (!answered) {
    connection_ = std::make_unique<connection>();
    return false;
  }
  const net::http_result& r = *answered;
  if (r.status == 0)
    throw failure{exit_unreachable, fmt::format("cannot reach the coordinator at {}: {}", base_, r.message),
                  ""};
  if (r.status < 200 || r.status > 299) throw from_problem(r.status, r.body.empty() ? rest : r.body);
  return stopped || !r.error;
}

json::array api_client::get_all(const std::string& path) {
  json::array all;
  std::string cursor;
  do {
    const auto page = get(path + "?limit=" + std::to_string(limits::page_max) +
                          (cursor.empty() ? "" : "&cursor=" + url_encode(cursor)));
    for (const json::value& item : page.body.at("items").as_array()) all.push_back(item);
    const json::value& next = page.body.at("next_cursor");
    cursor = next.is_string() ? std::string(next.as_string()) : "";
  } while (!cursor.empty());
  return all;
}

}  // namespace orchestrator::cli
