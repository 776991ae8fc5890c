"""The routes of the dashboard's files, as a browser, a proxy and an attacker ask for them: conditional, compressed,
guarded, without a token, and apart from the API. A program built without the dashboard answers a plain page instead.
"""
import gzip
import http.client
import re
import unittest

from harness import LIMIT, ROOT, WorldTest

GUARDS = {
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Dashboard(WorldTest):
    def setUp(self):
        super().setUp()
        self.world.start_server()
        self.document = self.ask("/")[2].decode()
        if "built without its dashboard" in self.document and self._testMethodName != "test_the_first_page_is_there":
            self.skipTest("the dashboard's files were NOT tested: this program was built without it")
        self.assets = re.findall(r'(?:src|href)="(/assets/[^"]+)"', self.document)

    def ask(self, path, headers=None, method="GET"):
        """Without a token: status, headers and the bytes as they came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=LIMIT)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def expect_guards(self, headers):
        for name, value in GUARDS.items():
            self.assertEqual(headers[name], value)
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        self.assertEqual((policy["default-src"], policy["script-src"], policy["style-src"], policy["frame-ancestors"]),
                         ("'none'", "'self'", "'self'", "'none'"))

    def test_the_first_page_is_there(self):
        status, headers, body = self.ask("/")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.expect_guards(headers)
        self.assertIn(b"<title>Orchestrator</title>", body)
        self.assertEqual(self.ask("/runs", HTML)[0], 401 if b"built without" in body else 200)

    def test_files_have_the_guards_and_never_change_under_their_name(self):
        self.assertGreaterEqual(len(self.assets), 3)
        types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
        for path in self.assets:
            status, headers, body = self.ask(path)
            self.assertEqual((status, headers["Content-Type"]), (200, types[path.rpartition(".")[2]]), path)
            self.assertEqual(headers["Cache-Control"], "public, max-age=31536000, immutable")
            self.assertEqual(int(headers["Content-Length"]), len(body))
            self.expect_guards(headers)
        status, headers, _ = self.ask("/")
        self.assertEqual(headers["Cache-Control"], "no-cache")
        self.assertNotRegex(self.document, r"<script(?![^>]* src=)|<style| style=| on\w+=", "inline code")
        self.assertNotIn("//", re.sub(r"<!doctype[^>]*>", "", self.document), "another host")

    def test_compressed_answers_are_the_same_bytes_for_those_who_take_them(self):
        for path in ["/", *self.assets]:
            plain = self.ask(path)
            for accept in ("gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "deflate,gzip ; q=0.001"):
                status, headers, body = self.ask(path, {"Accept-Encoding": accept})
                self.assertEqual((status, headers["Content-Encoding"]), (200, "gzip"), accept)
                self.assertEqual(gzip.decompress(body), plain[2])
                self.assertEqual(headers["Vary"], "Accept-Encoding")
                self.assertNotEqual(headers["ETag"], plain[1]["ETag"])
            for accept in ("", "identity", "gzip;q=0", "gzip; q=0.000", "x-gzipped", "br"):
                status, headers, body = self.ask(path, {"Accept-Encoding": accept})
                self.assertEqual((status, headers["Content-Encoding"], body), (200, None, plain[2]), accept)

    def test_what_the_browser_has_is_not_sent_again(self):
        for path in ["/", *self.assets]:
            for encoding in ("identity", "gzip"):
                _, headers, _ = self.ask(path, {"Accept-Encoding": encoding})
                etag = headers["ETag"]
                for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
                    status, again, body = self.ask(path, {"Accept-Encoding": encoding, "If-None-Match": known})
                    self.assertEqual((status, body, again["ETag"]), (304, b"", etag), known)
                    self.assertIsNone(again["Content-Encoding"])
                    self.expect_guards(again)
                status, _, body = self.ask(path, {"Accept-Encoding": encoding, "If-None-Match": '"other"'})
                self.assertEqual(status, 200)
                self.assertTrue(body)

    def test_head_answers_as_get_does_without_a_body(self):
        for path in ["/", *self.assets]:
            for encoding in ("identity", "gzip"):
                sent = {"Accept-Encoding": encoding}
                got, headers, body = self.ask(path, sent)
                head, same, empty = self.ask(path, sent, method="HEAD")
                without_date = [(k, v) for k, v in headers.items() if k != "Date"]
                self.assertEqual((head, empty, [(k, v) for k, v in same.items() if k != "Date"]),
                                 (got, b"", without_date))
                self.assertEqual(int(same["Content-Length"]), len(body))
        token = {"Authorization": f"Bearer {self.world.token()}"}
        self.assertEqual(self.ask("/", method="POST")[0], 401)
        status, headers, _ = self.ask("/", token, method="POST")
        self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))

    def test_every_page_answers_the_document_to_a_browser_and_nothing_to_a_script(self):
        pages = (ROOT / "src/dashboard/pages.json").read_text()
        paths = [re.sub(r"\{\w+\}", "any%20thing", page) for page in re.findall(r'"([^"]+)"', pages)]
        self.assertGreater(len(paths), 8)
        for path in paths:
            self.assertEqual(self.ask(path, HTML)[2].decode(), self.document, path)
            self.assertEqual(self.ask(path + "?state=failed&job=a", HTML)[0], 200)
            status, headers, body = self.ask(path, {"Accept": "application/json"})
            self.assertEqual((status, headers["Content-Type"]), (404, "application/problem+json"), path)
            self.assertNotIn(b"<html", body)

    def test_nothing_below_the_api_is_ever_html(self):
        token = {"Authorization": f"Bearer {self.world.token()}"}
        for path in ("/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/jobs:new", "/api/v2/runs",
                     "/api/v1/runs/a/b/c", "/api/index.html"):
            status, headers, body = self.ask(path, {**HTML, **token})
            self.assertEqual((status, headers["Content-Type"]), (404, "application/problem+json"), path)
            self.assertNotIn(b"<", body)
            self.assertEqual(self.ask(path, HTML)[0], 401, path)
        for path in ("/assets/nothing.js", "/assets/", "/assets/../api/v1/jobs", "/assets/%2e%2e/admin.token",
                     "/index.html", "/runs/", "/jobs/a/b"):
            status, headers, body = self.ask(path, {**HTML, **token})
            self.assertEqual((status, headers["Content-Type"]), (404, "application/problem+json"), path)

    def test_the_guards_of_the_server_hold_for_pages_too(self):
        self.assertEqual(self.ask("/", {"Host": "evil.example"})[0], 421)
        self.assertEqual(self.ask("/", {"Origin": "http://evil.example"})[0], 403)
        self.assertEqual(self.ask("/", {"Transfer-Encoding": "chunked"})[0], 411)

    def test_the_pages_tell_nothing_that_a_token_guards(self):
        secret = self.world.token()
        for path in ["/", *self.assets]:
            self.assertNotIn(secret.encode(), self.ask(path)[2])
        self.assertEqual(self.ask("/api/v1/status")[0], 401)


if __name__ == "__main__":
    unittest.main()
