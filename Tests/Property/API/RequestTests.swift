// What requests ask of the peer, who may ask, and what browsers are told.

import API
import Encoding
import HTTP
import Kernel
import Multiformats
import Pinset
import Seams
import Testing

@Suite struct RequestTests {
    static let text = "bafkreiaormrt7gcckbwbuhno7waexnodzs5ykgw2jsjchzgykevywpuniy"
    static let cid = try! CID(text: text)

    @Test func routesAskForWhatTheyName() throws {
        var harness = APIHarness()
        let peer = try PeerID(text: "12D3KooWCAV5hBkK5FfxFM1VFZmpEJZ4CpDve6UQUvJdvL9oGkAy")
        let all: Set<PinType> = [.data, .meta, .clusterDAG, .shard, .bad]
        let requests: [(String, String, ClientRequest)] = [
            ("GET", "/id", .id), ("GET", "/version", .version), ("GET", "/peers", .peers), ("DELETE", "/peers/\(peer)", .peerRemove(peer)),
            ("GET", "/allocations", .pins(all)), ("GET", "/allocations?filter=pin,,bogus", .pins(all)),
            ("GET", "/allocations?filter=pin,meta-pin,clusterdag-pin,shard-pin", .pins(all)), ("GET", "/allocations?filter=shard-pin,pin", .pins([.data, .shard])),
            ("GET", "/allocations?filter=meta-pin,x", .pins([.meta, .bad])), ("GET", "/allocations/\(Self.text)", .pinGet(Self.cid)),
            ("GET", "/pins", .statusAll(.undefined, isLocal: false)), ("GET", "/pins?filter=error,bogus&local=true", .statusAll(.error, isLocal: true)),
            ("GET", "/pins?cids=\(Self.text)&filter=bogus&local=1", .statuses([Self.cid], isLocal: false)),
            ("GET", "/pins/\(Self.text)?local=true", .status(Self.cid, isLocal: true)), ("DELETE", "/pins/\(Self.text)", .unpin(Self.cid)),
            ("POST", "/pins/\(Self.text)/recover?local=true", .recover(Self.cid, isLocal: true)),
            ("POST", "/pins/recover", .recoverAll(isLocal: false)), ("POST", "/ipfs/gc?local=true", .repoGC(isLocal: true)),
            ("GET", "/health/graph", .connectGraph), ("GET", "/health/alerts", .alerts), ("GET", "/health/bandwidth", .bandwidth),
            ("GET", "/monitor/metrics/tag%3Agroup", .metrics(name: "tag:group")), ("GET", "/monitor/metrics", .metricNames),
            ("GET", "http://peer:9094/id?x=y", .id), ("GET", "/%69d", .id), ("GET", "/pins%2F\(Self.text)", .status(Self.cid, isLocal: false)),
        ]
        for (method, target, want) in requests { #expect(harness.asked(method, target) == want, "\(method) \(target)") }
    }

    @Test func peersAreShownWithTheirPinsetsOnDemand() throws {
        var harness = APIHarness()
        var peer = PeerInfo(id: try PeerID(text: "12D3KooWCAV5hBkK5FfxFM1VFZmpEJZ4CpDve6UQUvJdvL9oGkAy"))
        let plain = peer.json.encoded() + "\n"
        peer.pinset = PinsetSummary(digest: "00ff", pins: 3, lastChange: WallTime(seconds: 1_700_000_000))
        let summary = #","pinset":{"digest":"00ff","pins":3,"last_change":"2023-11-14T22:13:20Z"}}"# + "\n"
        let asked: [(String, String, Bool)] = [
            ("GET", "/id", false), ("GET", "/id?pinset=true", true), ("GET", "/id?pinset=1", false), ("GET", "/peers", false),
            ("GET", "/peers?pinset=true", true),
        ]
        for (method, target, isShown) in asked {
            let id = harness.send(method, target)
            harness.reply(.item(.peer(peer)))
            harness.reply(.end)
            #expect(harness.answer(id).text == (isShown ? plain.dropLast(2) + summary : plain), "\(target)")
        }
        let id = harness.send("POST", "/peers?pinset=true", body: [Bytes(#"{"peer_id":"\#(peer.id)"}"#.utf8)])
        harness.reply(.item(.peer(peer)))
        harness.reply(.end)
        #expect(harness.answer(id).text == plain)
    }

    @Test func pinsCarryTheirOptions() throws {
        var harness = APIHarness()
        guard case .pin(let pin)? = harness.asked("POST", "/pins/\(Self.text)?mode=direct&name=a+b&replication=2&meta-k=v&expire-in=1h") else {
            Issue.record("no pin"); return
        }
        #expect(pin.cid == Self.cid && pin.options.name == "a b" && pin.options.replicationFactorMin == 2 && pin.options.replicationFactorMax == 2)
        #expect(pin.options.mode == .direct && pin.maxDepth == -1 && pin.options.metadata == ["k": "v"])
        #expect(pin.options.expireAt == APIHarness.now.wall + .hours(1))
        guard case .pinPath(let path)? = harness.asked("POST", "/pins/ipfs/\(Self.text)%2Fdir/file?mode=direct") else { Issue.record("no path"); return }
        #expect(path.path == "/ipfs/\(Self.text)/dir/file" && path.options.mode == .direct)
        guard case .add(let parameters)? = {
            _ = harness.send("POST", "/add?cid-version=1&name=n&local=true", ["Content-Type": "multipart/form-data; boundary=b"])
            return harness.requests.last?.request
        }() else { Issue.record("no add"); return }
        #expect(parameters.rawLeaves && parameters.isLocal && parameters.options.name == "n" && parameters.streamChannels)
    }

    /// What a pin keeps is to be text; what nothing is made of may be anything.
    @Test func aPinKeepsTextAlone() {
        var harness = APIHarness()
        let form: HTTPFields = ["Content-Type": "multipart/form-data; boundary=b"]
        for query in ["name=a%FF", "meta-k=%E6%97", "meta-%FF=v"] {
            for path in ["/pins/\(Self.text)?", "/pins/ipfs/\(Self.text)/f?", "/add?stream-channels=false&"] {
                let answer = harness.ask("POST", path + query, form)
                #expect(answer.status == 500 && answer.text.contains("string field contains invalid UTF-8"), "\(path) \(query)")
            }
            // A streamed add has begun its answer before it knows (REST-101).
            let streamed = harness.ask("POST", "/add?\(query)", form)
            #expect(streamed.status == 200 && streamed.body.isEmpty && streamed.trailers["X-Stream-Error"] == "string field contains invalid UTF-8")
        }
        for (method, path) in [("POST", "/pins/\(Self.text)?other=%FF"), ("DELETE", "/pins/\(Self.text)?name=%FF"), ("POST", "/add?no-pin=true&name=%FF")] {
            _ = harness.send(method, path, form)
            #expect(harness.requests.count == 1, "\(path)")
        }
    }

    /// REST-198: nothing is done after a 400.
    @Test(arguments: ["GET /pins/$", "POST /pins/$", "DELETE /pins/$", "POST /pins/$/recover", "GET /allocations/$", "POST /pins/ipfs/$", "DELETE /pins/ipfs/$"])
    func wrongOptionsStopTheRequest(_ line: String) {
        var harness = APIHarness()
        let words = line.replacing("$", with: Self.text).split(separator: " ").map(String.init)
        for query in ["replication=x", "shard-size=-1", "expire-at=never", "expire-in=1", "origins=/ip4/1.2.3.4", "pin-update=b"] {
            let answer = harness.ask(words[0], "\(words[1])?\(query)")
            #expect(answer.status == 400 && answer.text.utf8.count { $0 == 10 } == 1, "\(line) \(query): \(answer.text)")
        }
    }

    /// REST-019, every path with every method.
    @Test func wrongMethodsAreToldApartFromWrongPaths() {
        var harness = APIHarness()
        let paths: [(path: String, methods: String)] = [
            ("/id", "GET"), ("/version", "GET"), ("/peers", "GET POST"), ("/peers/x", "DELETE"), ("/add", "POST"), ("/allocations", "GET"),
            ("/allocations/x", "GET"), ("/pins", "GET"), ("/pins/x", "GET POST DELETE"), ("/pins/x/recover", "POST"), ("/pins/ipfs/x/y", "POST DELETE"),
            ("/ipfs/gc", "POST"), ("/health/graph", "GET"), ("/health/alerts", "GET"), ("/health/bandwidth", "GET"), ("/monitor/metrics", "GET"),
            ("/monitor/metrics/x", "GET"), ("/token", "POST"), ("/health", "GET"),
        ]
        let undeletable = ["/ipfs/gc", "/health", "/health/graph", "/health/alerts", "/health/bandwidth", "/monitor/metrics", "/monitor/metrics/x", "/token"]
        for (path, methods) in paths {
            for method in ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "FOO", "get"] where !methods.split(separator: " ").contains(Substring(method)) {
                let is405 = !["GET", "POST", "DELETE"].contains(method) || (method == "POST" && path == "/health") || (method == "DELETE" && undeletable.contains(path))
                let answer = harness.ask(method, path)
                #expect(answer.status == (is405 ? 405 : 404), "\(method) \(path)")
                #expect(answer.text == (is405 ? "" : "{\"code\":404,\"message\":\"not found\"}\n"))
                #expect(answer.headers["Content-Type"] == (is405 ? nil : "application/json"))
            }
        }
        for path in ["/nope", "/id/x", "/pins/a/b", "/pins/ipfs/x/recover/y/../../../z/q", "/health/x", "/monitor"] {
            for method in ["GET", "PUT"] {
                let status = harness.send(method, path)
                #expect([404, 301].contains(harness.answer(status).status), "\(method) \(path)")
            }
        }
    }

    @Test func redirectsNeverLeaveTheHost() {
        var harness = APIHarness()
        let targets: [(String, Int, String)] = [
            ("/pins/?a=b&c", 307, "/pins?a=b&c"), ("//evil.com/", 307, "/evil.com"), ("/%2fevil.com/", 307, "/evil.com"), ("//evil.com", 301, "/evil.com"),
            ("/a/../id", 301, "/id"), ("/./id?x", 301, "/id?x"), ("/a%20b//c", 301, "/a%20b/c"), ("/x%0d%0aSet-Cookie:y/", 307, "/x%0D%0ASet-Cookie:y"), ("/../..", 301, "/"),
            ("*", 301, "/%2A"), ("http://host", 301, "/"), ("http://host?x=/a", 301, "/?x=/a"), ("https://host/a//b", 301, "/a/b"), ("http://host/id/", 307, "/id"),
        ]
        for (target, status, location) in targets {
            let answer = harness.ask("GET", target)
            #expect(answer.status == status && answer.headers["Location"] == location, "\(target): \(answer.status) \(answer.headers["Location"] ?? "")")
        }
        for (target, status, location) in [("host:1", 301, "/"), ("host:1?x", 301, "/?x"), ("host:1/a//b", 301, "/a/b"), ("/id", 405, nil), ("host:1/id", 405, nil)] {
            let answer = harness.ask("CONNECT", target)
            #expect(answer.status == status && answer.headers["Location"] == location && answer.text.isEmpty, "\(target): \(answer)")
        }
        #expect(harness.ask("GET", "/pins/?a='<&").text == "<a href=\"/pins?a=&#39;&lt;&amp;\">Temporary Redirect</a>.\n\n")
        #expect(harness.ask("POST", "/pins/ipns/").headers["Content-Type"] == nil)
    }

    @Test(arguments: ["/%zz", "/%4", "/a%", "id", "*?x", "", "?x", "host:1", "http://host/%zz", "/a\u{7f}b", "/a b"])
    func unreadableTargetsAreBadRequests(_ target: String) {
        var settings = RESTSettings()
        settings.credentials = ["a": "b"]
        var harness = APIHarness(settings)
        let answer = harness.ask("GET", target)
        #expect(answer.status == 400 && answer.text == "400 Bad Request" && answer.headers["Connection"] == "close")
    }

    @Test func bodiesOfPeersHaveALimit() {
        var settings = RESTSettings()
        settings.bodyLimitBytes = 10
        var harness = APIHarness(settings)
        #expect(harness.ask("POST", "/peers", body: [Bytes("{\"peer_".utf8), Bytes("id\":1}".utf8), [1]]).text
            == "{\"code\":413,\"message\":\"request body is longer than 10 bytes\"}\n")
        #expect(harness.ask("POST", "/peers", body: [Bytes("[[[[".utf8)]).status == 400)
        #expect(harness.ask("POST", "/peers", body: [Bytes(repeating: 0xff, count: 10)]).text == "{\"code\":400,\"message\":\"error decoding request body\"}\n")
    }

    @Test func streamsFailBeforeOrAfterTheirFirstLine() {
        var harness = APIHarness()
        let early = harness.send("GET", "/pins?local=true")
        harness.reply(.failed(ClientFailure("no \"IPFS\"")))
        #expect(harness.answer(early).status == 500 && harness.answer(early).text == "{\"code\":500,\"message\":\"no \\\"IPFS\\\"\"}\n")
        #expect(harness.answer(early).headers["Trailer"] == "X-Stream-Error" && harness.answer(early).trailers.fields.isEmpty)
        let late = harness.send("GET", "/allocations")
        harness.reply(.item(.pin(Pin(cid: Self.cid))))
        harness.reply(.failed(ClientFailure("broke")))
        #expect(harness.answer(late).status == 200 && harness.answer(late).trailers.all("X-Stream-Error") == ["", "broke"])
    }

    @Test func configuredHeadersGoWithWhatTheAPIWrites() {
        var settings = RESTSettings()
        settings.headers = ["X-Cluster": "one", "Content-Type": "text/x"]
        settings.headers.add("X-Cluster", "two")
        var harness = APIHarness(settings)
        for target in ["/health", "/nope"] {
            let headers = harness.ask("GET", target).headers
            #expect(headers.all("X-Cluster") == ["one", "two"] && headers.all("Content-Type") == ["text/x", "application/json"])
        }
        #expect(harness.ask("PUT", "/id").headers["X-Cluster"] == nil && harness.ask("GET", "/id/").headers["X-Cluster"] == nil)
    }

    @Test func everyAnswerLeavesALine() {
        var harness = APIHarness()
        _ = harness.ask("GET", "/nope?a=\"&b")
        #expect(harness.log == ["sending error response: 404: not found", "127.0.0.1 - - [24/Nov/2026:00:30:00 +0000] \"GET /nope?a=\\\"&b HTTP/1.1\" 404 35"])
        harness.feed(ServedID(99), .request(HTTPRequest(method: "GET", target: "/health"), remote: "[::1]:80"))
        #expect(harness.log.last?.hasPrefix("::1 - - ") == true && harness.log.last?.hasSuffix(" 204 0") == true)
    }

    @Test(arguments: [("direct", false), ("recursive", false), ("", false), ("deep", true)]) func anUnknownModeIsToldOf(mode: String, isTold: Bool) {
        let boundary: HTTPFields = ["Content-Type": "multipart/form-data; boundary=b"]
        for (method, path) in [("POST", "/pins/\(Self.text)"), ("POST", "/add"), ("GET", "/id")] {
            var harness = APIHarness()
            _ = harness.send(method, "\(path)?mode=\(mode)", boundary)
            let lines = harness.log.filter { $0.contains("pin mode") }
            #expect(lines == (isTold && method == "POST" ? ["unknown pin mode string. Defaulting to recursive"] : []), "\(path)")
        }
    }

    /// An operator sees which requests failed, and why. As upstream: a listing that fails before its first line leaves none.
    @Test func errorsAreLogged() {
        func lines(_ method: String, _ target: String, _ settings: RESTSettings = RESTSettings(), failing failure: ClientFailure? = nil) -> [String] {
            var harness = APIHarness(settings)
            _ = harness.send(method, target, target.hasPrefix("/add") ? ["Content-Type": "multipart/form-data; boundary=b"] : [:])
            if let failure { harness.reply(.failed(failure)) }
            return harness.log.filter { !$0.hasPrefix("127.0.0.1") }
        }
        #expect(lines("GET", "/pins/x").first?.hasPrefix("sending error response: 400: ") == true)
        #expect(lines("GET", "/allocations/\(Self.text)", failing: ClientFailure(.notFound, "none")) == ["sending error response: 404: none"])
        #expect(lines("POST", "/pins/\(Self.text)", failing: ClientFailure(.failed, "full")) == ["sending error response: 500: full"])
        var settings = RESTSettings()
        settings.credentials = ["a": "b"]
        #expect(lines("GET", "/id", settings) == ["sending error response: 401: unauthorized: no auth provided"])
        for target in ["/add", "/add?stream-channels=false"] { #expect(lines("POST", target, failing: ClientFailure(.failed, "cut")) == ["cut"]) }
        for target in ["/pins", "/id/"] { #expect(lines("GET", target, failing: target == "/pins" ? ClientFailure(.failed, "x") : nil).isEmpty) }
    }
}

@Suite struct AccessTests {
    private func harness() -> APIHarness {
        var settings = RESTSettings()
        settings.credentials = ["alice": "wonder:land", "bob": "builder"]
        return APIHarness(settings)
    }
    private func token(_ header: String, _ claims: String, _ password: String) -> String {
        let signed = Multibase.base64url.encode(Bytes(header.utf8)) + "." + Multibase.base64url.encode(Bytes(claims.utf8))
        return "Bearer " + signed + "." + Multibase.base64url.encode(Self.hmacSHA256(Bytes(password.utf8), Bytes(signed.utf8)))
    }
    /// RFC 2104, from the hash function alone.
    private static func hmacSHA256(_ key: Bytes, _ data: Bytes) -> Bytes {
        let block = key + Bytes(repeating: 0, count: 64 - key.count)
        let inner = Multihash.sha2_256(of: block.map { $0 ^ 0x36 } + data).digest
        return Bytes(Multihash.sha2_256(of: block.map { $0 ^ 0x5c } + inner).digest)
    }

    @Test func tokensAreCheckedInFull() {
        var harness = harness()
        let now = APIHarness.now.wall.seconds
        let hs256 = "{\"alg\":\"HS256\"}"
        let good = [
            "{\"iss\":\"bob\"}", "{\"iss\":\"bob\",\"exp\":\(now + 1)}", "{\"iss\":\"bob\",\"nbf\":\(now),\"iat\":\(now).5e0,\"exp\":null,\"x\":[]}".replacing(".5e0", with: ".0"),
        ]
        for claims in good { _ = harness.send("GET", "/id", ["Authorization": token(hs256, claims, "builder")]); #expect(harness.requests.count == 1, "\(claims)") }
        let bad = [
            (hs256, "{\"iss\":\"bob\",\"exp\":\(now)}", "builder"), (hs256, "{\"iss\":\"bob\",\"nbf\":\(now + 1)}", "builder"),
            (hs256, "{\"iss\":\"bob\",\"iat\":\(now + 1)}", "builder"), (hs256, "{\"iss\":\"bob\",\"exp\":\"x\"}", "builder"),
            (hs256, "{\"iss\":\"bob\"}", "wonder:land"), (hs256, "{\"iss\":\"\"}", ""), (hs256, "[]", "builder"), (hs256, "{\"iss\":7}", "builder"),
            ("{\"alg\":\"none\"}", "{\"iss\":\"bob\"}", "builder"), ("{\"alg\":\"RS256\"}", "{\"iss\":\"bob\"}", "builder"), ("{}", "{\"iss\":\"bob\"}", "builder"),
            ("{\"alg\":\"HS512\"}", "{\"iss\":\"bob\"}", "builder"),
        ]
        for (header, claims, password) in bad {
            let answer = harness.ask("GET", "/id", ["Authorization": token(header, claims, password)])
            #expect(answer.status == 401 && answer.text.contains("invalid token"), "\(header) \(claims)")
        }
        for text in ["Bearer", "Bearer ", "Bearer a.b", "Bearer a.b.c.d", "Bearer ..", "Token x", "Basic", "Basic YQ==", "Basic =", "Basic YTpi=", "Digest a"] {
            #expect(harness.ask("GET", "/id", ["Authorization": text]).status == 401, "\(text)")
        }
    }

    /// REST-024, for tokens too.
    @Test func emptyNamesAndPasswordsAreNobodys() {
        var settings = RESTSettings()
        settings.credentials = ["eve": "", "": "x"]
        var harness = APIHarness(settings)
        for pair in ["eve:", ":x", ":"] {
            var text = Multibase.base64.encode(Bytes(pair.utf8))
            while text.utf8.count % 4 != 0 { text += "=" }
            #expect(harness.ask("GET", "/id", ["Authorization": "Basic \(text)"]).text.contains("access denied"), "\(pair)")
        }
        let forged = token("{\"alg\":\"HS256\"}", "{\"iss\":\"eve\"}", "")
        #expect(harness.ask("GET", "/id", ["Authorization": forged]).text.contains("invalid token"))
    }

    @Test func whatIsIssuedIsTaken() {
        var harness = harness()
        let answer = harness.ask("POST", "/token", ["Authorization": "Basic " + Multibase.base64.encode(Bytes("alice:wonder:land".utf8)) + "="])
        guard let json = try? JSONReader.parse(answer.body), let token = json["token"]?.text else { Issue.record("no token: \(answer.text)"); return }
        let again = harness.ask("POST", "/token", ["Authorization": "bearer \(token)"])
        #expect(again.text == answer.text)
        #expect(harness.ask("POST", "/token", ["Authorization": "bearer \(token)x"]).status == 401)
    }

    @Test func onlyHealthAndOptionsNeedNoName() {
        var harness = harness()
        #expect(harness.ask("GET", "/health").status == 204 && harness.ask("OPTIONS", "/id").status == 405)
        #expect(harness.ask("OPTIONS", "*").status == 200 && harness.ask("GET", "*").status == 401)
        for (method, target) in [("POST", "/health"), ("GET", "/health/"), ("GET", "/health/graph"), ("GET", "//health"), ("HEAD", "/health"), ("GET", "/pins/")] {
            let answer = harness.ask(method, target)
            #expect(answer.status == 401 && answer.headers["Vary"] == nil && answer.headers["Location"] == nil, "\(method) \(target)")
            #expect(answer.headers.all("WWW-Authenticate").count == 2)
        }
    }

    @Test func browsersAreToldWhatIsAllowed() {
        var settings = RESTSettings()
        settings.cors.allowedOrigins = ["https://App.example", "http://*.local", "ftp://a*a"]
        settings.cors.allowedMethods = ["GET", "x", "DELETE"]
        settings.cors.allowedHeaders = ["Authorization", "X-Custom"]
        settings.cors.exposedHeaders = []
        settings.cors.allowsCredentials = false
        settings.cors.maxAge = .milliseconds(90_500)
        var harness = APIHarness(settings)
        func preflight(_ origin: String, _ method: String, _ headers: String = "") -> HTTPFields {
            let answer = harness.ask("OPTIONS", "/pins/x/", [
                "Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers,
            ])
            #expect(answer.status == 204)
            return answer.headers
        }
        let allowed = preflight("https://app.EXAMPLE", "DELETE", "authorization,x-custom")
        #expect(allowed["Access-Control-Allow-Origin"] == "https://app.EXAMPLE" && allowed["Access-Control-Allow-Methods"] == "DELETE")
        #expect(allowed["Access-Control-Allow-Headers"] == "authorization,x-custom" && allowed["Access-Control-Max-Age"] == "90")
        #expect(allowed["Access-Control-Allow-Credentials"] == nil)
        #expect(preflight("http://.local", "GET")["Access-Control-Allow-Origin"] == "http://.local")
        #expect(preflight("http://a.b.local", "GET")["Access-Control-Allow-Origin"] == "http://a.b.local")
        for (origin, method, headers) in [
            ("https://evil.example", "GET", ""), ("http://.local.evil", "GET", ""), ("ftp://a", "GET", ""), ("", "GET", ""), ("https://app.example", "POST", ""),
            ("https://app.example", "GET", "x-other"), ("https://app.example", "GET", "x-custom, x-other"),
        ] { #expect(preflight(origin, method, headers).fields.map(\.name) == ["Vary"], "\(origin) \(method) \(headers)") }
        // Methods are told apart by case, and headers come as browsers send them: small, in their order, each once.
        for (method, headers, isAllowed) in [
            ("x", "", true), ("X", "", false), ("get", "", false), ("GET", "X-Custom", false), ("GET", "x-custom,authorization", false),
            ("GET", "x-custom,x-custom", false), ("GET", "authorization, x-custom", true), ("GET", "authorization,  x-custom", false),
            ("GET", " authorization\t", true), ("GET", ",,authorization,,", true), ("GET", String(repeating: ",", count: 15) + "x-custom", true),
            ("GET", String(repeating: ",", count: 17) + "x-custom", false),
        ] { #expect((preflight("https://app.example", method, headers)["Access-Control-Allow-Methods"] == method) == isAllowed, "\(method) \(headers)") }
        var twice: HTTPFields = ["Origin": "http://x.local", "Access-Control-Request-Method": "GET"]
        twice.add("Origin", "http://y.local")
        for names in ["authorization", "x-custom"] { twice.add("Access-Control-Request-Headers", names) }
        let answer = harness.ask("OPTIONS", "/id", twice).headers
        #expect(answer.all("Access-Control-Allow-Origin") == ["http://x.local", "http://y.local"])
        #expect(answer.all("Access-Control-Allow-Headers") == ["authorization", "x-custom"])
        let actual = harness.ask("GET", "/nope", ["Origin": "http://x.local"]).headers
        #expect(actual["Access-Control-Allow-Origin"] == "http://x.local" && actual["Access-Control-Expose-Headers"] == nil)
        #expect(harness.ask("POST", "/nope", ["Origin": "http://x.local"]).headers["Access-Control-Allow-Origin"] == nil)
        #expect(harness.ask("GET", "/nope").headers["Vary"] == "Origin")
        settings.cors.exposedHeaders = ["x-a", "ETAG", "b c"]
        harness = APIHarness(settings)
        #expect(harness.ask("GET", "/nope", ["Origin": "http://x.local"]).headers["Access-Control-Expose-Headers"] == "X-A, Etag, b c")
    }
}

@Suite struct HostileTests {
    /// Whatever comes, each request gets one whole answer or becomes one request of the peer.
    @Test(arguments: 0..<300) func everyRequestIsAnsweredOnce(_ seed: Int) {
        var choices = Choices(seed: UInt64(seed))
        var harness = APIHarness()
        let words = ["/", "pins", "ipfs", "add", "peers", "recover", "%2e%2e", "%", "?", "&", "=", "filter", "cids", ",", "local", "true", "..", "\u{e9}", "%ff", RequestTests.text, "meta-", "origins=/ip4", "expire-in=", "9h", "\"", "'", "#", "+", "replication=", "-1", "99999999999999999999"]
        let names = ["Content-Type", "Origin", "Authorization", "Access-Control-Request-Method", "X"]
        let values = ["multipart/form-data; boundary=b", "multipart/form-data; boundary=\"", "*", ";;;", "Bearer a.b.c", "Basic ////", "\u{0}\u{1}", String(repeating: "a", count: 5000), ""]
        let pieces = ["--b", "\r\n", "--", "Content-Disposition: form-data; filename=\"a\"", ":", "{", "\"peer_id\"", "}", "\u{0}", "x", "\n\n"]
        for _ in 0..<20 {
            let target = "/" + (0..<choices.below(7)).map { _ in words[choices.below(words.count)] }.joined()
            var headers = HTTPFields()
            for _ in 0..<choices.below(4) { headers.add(names[choices.below(names.count)], values[choices.below(values.count)]) }
            let body = (0..<choices.below(9)).map { _ in Bytes(pieces[choices.below(pieces.count)].utf8) }
            let method = ["GET", "POST", "DELETE", "OPTIONS", "HEAD", ""][choices.below(6)]
            let id = harness.send(method, target, headers, body: body)
            #expect(harness.requests.count <= 1)
            if harness.requests.isEmpty { #expect(harness.answer(id).status >= 200, "seed \(seed) \(method) \(target)") } else {
                harness.reply(choices.chance(1, in: 2) ? .end : .failed(ClientFailure("no\r\nX: y")))
                #expect(!harness.answer(id).trailers.fields.contains { $0.value.contains("\n") || $0.value.contains("\r\n") })
            }
        }
        #expect(harness.api.openCount == 0, "seed \(seed)")
    }
}
