// Keys of the APIs, the IPFS connectors and the observations. CFG-086..125, CFG-140..146.

import Encoding
import Kernel
import Multiformats

extension Component {
    static let restapi = api(.restapi, port: 9094)
    static let pinsvcapi = api(.pinsvcapi, port: 9097)

    private static func api(_ name: ComponentName, port: Int) -> Component {
        let n = name.rawValue
        return Component(
            name: name,
            keys: [
                .addresses("http_listen_multiaddress", ["/ip4/127.0.0.1/tcp/\(port)"], zero: .keeps),
                .text("ssl_cert_file", shown: .unlessZero),
                .text("ssl_key_file", shown: .unlessZero),
                .span("read_timeout", .zero),
                .span("read_header_timeout", .seconds(5)),
                .span("write_timeout", .zero),
                .span("idle_timeout", .minutes(2)),
                .int("max_header_bytes", 4096, zero: .keeps),
                .addresses("libp2p_listen_multiaddress", [], zero: .keeps, shown: .unlessZero),
                Key("id", .peerID, .text(""), zero: .keeps, shown: .unlessZero, failure: "error parsing \(n).ID"),
                Key("private_key", .privateKey, .text(""), zero: .keeps, shown: .unlessZero, isHidden: true),
                Key("basic_auth_credentials", .map, .map(nil), isHidden: true),
                .text("http_log_file"),
                Key("headers", .lists, .lists([])),
                .texts("cors_allowed_origins", ["*"]),
                .texts("cors_allowed_methods", ["GET"]),
                .texts("cors_allowed_headers", []),
                .texts(
                    "cors_exposed_headers", ["Content-Type", "X-Stream-Output", "X-Chunked-Output", "X-Content-Length"]),
                .flag("cors_allow_credentials", true),
                .span("cors_max_age", .zero, zero: .counts),
            ],
            checks: [
                atLeast(0, "read_timeout", "\(n).read_timeout is invalid"),
                atLeast(0, "read_header_timeout", "\(n).read_header_timeout is invalid"),
                atLeast(0, "write_timeout", "\(n).write_timeout is invalid"),
                atLeast(0, "idle_timeout", "\(n).idle_timeout invalid"),
                atLeast(4096, "max_header_bytes", "\(n).max_header_bytes must be not less then 4096"),
                {
                    $0.map("basic_auth_credentials")?.isEmpty == true
                        ? "\(n).basic_auth_creds should be null or have at least one entry" : nil
                },
                {
                    $0.text("ssl_cert_file").isEmpty != $0.text("ssl_key_file").isEmpty
                        ? "\(n): ssl_cert_file and ssl_key_file should both be set" : nil
                },
                atLeast(0, "cors_max_age", "\(n).cors_max_age is invalid"),
                { libp2pFailure($0) },
            ])
    }

    /// CFG-094, CFG-095.
    private static func libp2pFailure(_ values: ComponentValues) -> String? {
        let (id, key) = (values.text("id"), values.text("private_key"))
        let isListening = !values.addresses("libp2p_listen_multiaddress").isEmpty
        if id.isEmpty && key.isEmpty && !isListening { return nil }
        guard !id.isEmpty, !key.isEmpty, isListening else {
            return "all ID, private_key and libp2p_listen_multiaddress should be set"
        }
        let belongs = (try? IdentityKey(base64: key).peerID.description) == id
        return belongs ? nil : "\(values.name.rawValue).ID does not match private_key"
    }

    static let ipfsproxy = Component(
        name: .ipfsproxy,
        keys: [
            .addresses(
                "listen_multiaddress", ["/ip4/127.0.0.1/tcp/9095"], zero: .keeps,
                failure: "error parsing proxy listen_multiaddress"),
            .address(
                "node_multiaddress", "/ip4/127.0.0.1/tcp/5001", zero: .keeps, failure: "error parsing ipfs node_multiaddress"),
            .flag("node_https", false, zero: .keeps, shown: .unlessZero),
            .text("log_file", zero: .keeps),
            .span("read_timeout", .zero),
            .span("read_header_timeout", .seconds(5)),
            .span("write_timeout", .zero),
            .span("idle_timeout", .minutes(1)),
            .int("max_header_bytes", 4096, zero: .keeps),
            .texts("extract_headers_extra", nil, zero: .keeps, shown: .unlessZero),
            .text("extract_headers_path", "/api/v0/version", zero: .keeps, shown: .unlessInitial),
            .span(
                "extract_headers_ttl", .minutes(5), shown: .unlessInitial,
                failure: "error parsing ipfsproxy.extract_header_ttl"),
        ],
        checks: [
            atLeast(0, "read_timeout", "ipfsproxy.read_timeout is invalid"),
            atLeast(0, "read_header_timeout", "ipfsproxy.read_header_timeout is invalid"),
            atLeast(0, "write_timeout", "ipfsproxy.write_timeout is invalid"),
            atLeast(0, "idle_timeout", "ipfsproxy.idle_timeout invalid"),
            atLeast(0, "extract_headers_ttl", "ipfsproxy.extract_headers_ttl is invalid"),
            atLeast(4096, "max_header_bytes", "ipfsproxy.max_header_size must be greater or equal to 4096"),
        ],
        lastFailureCounts: true)

    static let ipfshttp = Component(
        name: .ipfshttp,
        keys: [
            .address(
                "node_multiaddress", "/ip4/127.0.0.1/tcp/5001", zero: .counts, failure: "error parsing ipfs_node_multiaddress"),
            .span("connect_swarms_delay", .seconds(30)),
            .span("ipfs_request_timeout", .minutes(5)),
            .span("pin_timeout", .minutes(2)),
            .span("unpin_timeout", .hours(3)),
            .span("repogc_timeout", .hours(24)),
            .int("informer_trigger_interval", 0),
            .flag("unpin_disable", false, shown: .unlessZero),
        ],
        checks: [
            atLeast(0, "connect_swarms_delay", "ipfshttp.connect_swarms_delay is invalid"),
            atLeast(0, "ipfs_request_timeout", "ipfshttp.ipfs_request_timeout invalid"),
            atLeast(0, "pin_timeout", "ipfshttp.pin_timeout invalid"),
            atLeast(0, "unpin_timeout", "ipfshttp.unpin_timeout invalid"),
            atLeast(0, "repogc_timeout", "ipfshttp.repogc_timeout invalid"),
            atLeast(0, "informer_trigger_interval", "ipfshttp.informer_trigger_interval"),
        ],
        lastFailureCounts: true)

    /// Not upstream's: the IPFS node inside the peer.
    static let embedded = Component(
        name: .embedded,
        keys: [
            .text("repo_folder", "ipfs", zero: .keeps),
            Key("storage_max", .size, .text("10GB"), zero: .keeps),
            .span("pin_timeout", .minutes(2)),
            .flag("unpin_disable", false),
        ],
        checks: [atLeast(0, "pin_timeout", "embedded.pin_timeout is invalid")])

    static let metrics = Component(
        name: .metrics,
        keys: [
            .flag("enable_stats", false),
            .address(
                "prometheus_endpoint", "/ip4/127.0.0.1/tcp/8888", zero: .counts,
                failure: "loadMetricsOptions: PrometheusEndpoint multiaddr"),
            .span("reporting_interval", .seconds(30), failure: "error parsing metrics.metrics.reporting_interval"),
        ],
        checks: [
            {
                $0.flag("enable_stats") && $0.span("reporting_interval") < .zero
                    ? "metrics.reporting_interval is invalid" : nil
            }
        ])

    static let tracing = Component(
        name: .tracing,
        keys: [
            .flag("enable_tracing", false),
            .address(
                "jaeger_agent_endpoint", "/ip4/0.0.0.0/udp/6831", zero: .counts,
                failure: "loadTracingOptions: JaegerAgentEndpoint multiaddr"),
            .real("sampling_prob", 0.3),
            .text("service_name", "cluster-daemon"),
        ],
        checks: [
            { $0.flag("enable_tracing") && $0.real("sampling_prob") < 0 ? "tracing.sampling_prob is invalid" : nil }
        ])
}
