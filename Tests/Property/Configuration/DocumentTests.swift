// Wrong, odd and missing things in service.json, and the environment. spec/config.md 1 to 11.

import Configuration
import Encoding
import Kernel
import Multiformats
import TestSupport
import Testing

/// A document with these components, and a good cluster section if none is given.
private func document(_ sections: String..., cluster: String = #"{"listen_multiaddress": "/ip4/0.0.0.0/tcp/9096"}"#) -> String {
    "{" + ([#""cluster": \#(cluster)"#] + sections).joined(separator: ",") + "}"
}

/// A cluster section with every group, and these members on top.
private func clusterWith(_ members: String) -> String {
    document(cluster: #"{"listen_multiaddress": "/ip4/0.0.0.0/tcp/9096", \#(members)}"#)
}

private func failure(_ document: String) -> String? {
    do { _ = try read(document) } catch { return "\(error)" }
    return nil
}

private func failure(environment: [String: String]) -> String? {
    var configuration = ServiceConfiguration(generatedFor: .crdt, datastore: .pebble, secret: Bytes(repeating: 1, count: 32), hostName: "h")
    do { try configuration.apply(environment: environment) } catch { return "\(error)" }
    return nil
}

private let peer0 = "12D3KooWSaoayBU6rVZSPpcNCEDE984aJ3psyaYbfHQqUfpmiMdv"
private let peer1 = "12D3KooWSek8FhN3tyhmcKKdPSYAfxQQxAniZregJexSsFmwjELj"

@Suite struct ValidationTests {
    /// Members of the cluster section, and what is said about them.
    @Test(arguments: [
        (#""secret": "abc""#, "error loading cluster secret from config: encoding/hex: odd length hex string"),
        (#""secret": "zz""#, "error loading cluster secret from config: encoding/hex: invalid byte: U+007A 'z'"),
        (#""secret": "abcd""#, "error loading cluster secret from config: input secret is 2 bytes, cluster secret should be 32"),
        (#""listen_multiaddress": "bogus""#,
            #"error parsing listen_multiaddress: failed to parse multiaddr "bogus": must begin with /"#),
        (#""listen_multiaddress": []"#, "cluster.listen_multiaddress is undefined"),
        (#""announce_multiaddress": ["/ip4/1.2.3.4/tcp/1", "x"]"#,
            #"error parsing announce: failed to parse multiaddr "x": must begin with /"#),
        (#""no_announce_multiaddress": "x""#, #"error parsing no_announce: failed to parse multiaddr "x": must begin with /"#),
        (#""connection_manager": {"high_water": 1, "grace_period": "1s"}"#, "cluster.connection_manager.low_water is invalid"),
        (#""connection_manager": {"low_water": 1, "grace_period": "1s"}"#, "cluster.connection_manager.high_water is invalid"),
        (#""connection_manager": {"high_water": 1, "low_water": 2, "grace_period": "1s"}"#,
            "cluster.connection_manager.low_water is greater than high_water"),
        (#""connection_manager": {"high_water": 2, "low_water": 1}"#, "cluster.connection_manager.grace_period is invalid"),
        (#""pubsub": {"history_gossip": 1, "history_length": 1}"#, "cluster.pubsub.d_factor is invalid"),
        (#""pubsub": {"d_factor": 1, "history_length": 1}"#, "cluster.pubsub.history_gossip is invalid"),
        (#""pubsub": {"d_factor": 1, "history_gossip": 1}"#, "cluster.pubsub.history_length is invalid"),
        (#""pubsub": {"d_factor": 1, "history_gossip": 1, "history_length": 1, "seen_messages_ttl": "0s"}"#,
            "cluster.pubsub.seen_message_ttl is invalid"),
        (#""pubsub": {"d_factor": 1, "history_gossip": 1, "history_length": 1, "heartbeat_interval": "-1s"}"#,
            "cluster.pubsub.heartbeat_interval is invalid"),
        (#""pubsub": {"d_factor": 1, "history_gossip": 1, "history_length": 1, "heartbeat_interval": "x"}"#,
            #"error parsing cluster.pubsub.heartbeat_interval: time: invalid duration "x""#),
        (#""dial_peer_timeout": "0s""#, "cluster.dial_peer_timeout is invalid"),
        (#""dial_peer_timeout": "5""#, #"error parsing cluster.dial_peer_timeout: time: missing unit in duration "5""#),
        (#""state_sync_interval": "-1s""#, "cluster.state_sync_interval is invalid"),
        (#""pin_recover_interval": "0""#, "cluster.pin_recover_interval is invalid"),
        (#""monitor_ping_interval": "0s""#, "cluster.monitoring_interval is invalid"),
        (#""peer_watch_interval": "0s""#, "cluster.peer_watch_interval is invalid"),
        (#""pin_only_on_trusted_peers": true, "pin_only_on_untrusted_peers": true"#,
            "cluster.pin_only_on_trusted_peers and pin_only_on_untrusted_peers cannot both be true"),
        (#""replication_factor_min": 3, "replication_factor_max": 2"#, "cluster.replication_factor_min is larger than max"),
        (#""replication_factor_min": -2, "replication_factor_max": 2"#, "cluster.replication_factor_min is wrong"),
        (#""replication_factor_min": -3, "replication_factor_max": -2"#, "cluster.replication_factor_min is wrong"),
        (#""replication_factor_max": 2"#, "cluster.replication_factor_min and max must be -1 when one of them is"),
        (#""peer_addresses": ["x"]"#, #"error parsing peer_addresses: failed to parse multiaddr "x": must begin with /"#),
        (#""leave_on_shutdown": "yes""#, "json: cannot unmarshal string into cluster.leave_on_shutdown of type bool"),
        (#""pubsub": []"#, "json: cannot unmarshal cluster.pubsub: it must be an object"),
        (#""connection_manager": {"high_water": 1.5}"#,
            "json: cannot unmarshal number 1.5 into cluster.connection_manager.high_water of type int"),
        (#""resource_manager": {"memory_limit_bytes": -1}"#,
            "json: cannot unmarshal number into cluster.resource_manager.memory_limit_bytes of type uint64"),
        (#""peer_addresses": "/ip4/1.2.3.4/tcp/1""#, "json: cannot unmarshal string into cluster.peer_addresses of type []string"),
    ])
    func clusterSection(_ members: String, _ expected: String) {
        #expect(failure(clusterWith(members)) == expected)
    }

    @Test(arguments: [
        (#""api": {"restapi": {"read_timeout": "-1s"}}"#, "restapi.read_timeout is invalid"),
        (#""api": {"restapi": {"read_header_timeout": "-1s"}}"#, "restapi.read_header_timeout is invalid"),
        (#""api": {"pinsvcapi": {"write_timeout": "-1s"}}"#, "pinsvcapi.write_timeout is invalid"),
        (#""api": {"restapi": {"idle_timeout": "-1s"}}"#, "restapi.idle_timeout invalid"),
        (#""api": {"restapi": {"max_header_bytes": 100}}"#, "restapi.max_header_bytes must be not less then 4096"),
        (#""api": {"restapi": {"basic_auth_credentials": {}}}"#,
            "restapi.basic_auth_creds should be null or have at least one entry"),
        (#""api": {"restapi": {"cors_max_age": "-1s"}}"#, "restapi.cors_max_age is invalid"),
        (#""api": {"restapi": {"id": "\#(peer0)"}}"#, "all ID, private_key and libp2p_listen_multiaddress should be set"),
        (#""api": {"restapi": {"ssl_cert_file": "c"}}"#, "restapi: ssl_cert_file and ssl_key_file should both be set"),
        (#""api": {"restapi": {"private_key": "!"}}"#, "error decoding restapi.private_key: illegal base64 data"),
        (#""api": {"restapi": {"http_listen_multiaddress": ["x"]}}"#,
            #"error parsing restapi.http_listen_multiaddress: failed to parse multiaddr "x": must begin with /"#),
        (#""api": {"restapi": {"headers": {"a": "b"}}}"#,
            "json: cannot unmarshal object into restapi.headers of type map[string][]string"),
        (#""api": {"ipfsproxy": {"read_timeout": "-1s", "max_header_bytes": 1}}"#,
            "ipfsproxy.max_header_size must be greater or equal to 4096"),
        (#""api": {"ipfsproxy": {"extract_headers_ttl": "x"}}"#,
            #"error parsing ipfsproxy.extract_header_ttl: time: invalid duration "x""#),
        (#""api": {"ipfsproxy": {"node_multiaddress": "x"}}"#,
            #"error parsing ipfs node_multiaddress: failed to parse multiaddr "x": must begin with /"#),
        (#""ipfs_connector": {"ipfshttp": {}}"#, #"error parsing ipfs_node_multiaddress: failed to parse multiaddr "": empty multiaddr"#),
        (#""ipfs_connector": {"ipfshttp": {"node_multiaddress": "/ip4/1.2.3.4/tcp/99999"}}"#,
            #"error parsing ipfs_node_multiaddress: failed to parse multiaddr "/ip4/1.2.3.4/tcp/99999": invalid value "99999" for protocol tcp: failed to parse port addr: strconv.ParseUint: parsing "99999": value out of range"#),
        (#""ipfs_connector": {"ipfshttp": {"node_multiaddress": "/ip4/1.2.3.4/tcp/+5"}}"#,
            #"error parsing ipfs_node_multiaddress: failed to parse multiaddr "/ip4/1.2.3.4/tcp/+5": invalid value "+5" for protocol tcp: failed to parse port addr: strconv.ParseUint: parsing "+5": invalid syntax"#),
        (#""ipfs_connector": {"ipfshttp": {"node_multiaddress": "/ip4/x"}}"#,
            #"error parsing ipfs_node_multiaddress: failed to parse multiaddr "/ip4/x": invalid value "x" for protocol ip4: failed to parse ip4 addr: x"#),
        (#""ipfs_connector": {"ipfshttp": {"node_multiaddress": "/ip4/1.2.3.4/tcp"}}"#,
            #"error parsing ipfs_node_multiaddress: failed to parse multiaddr "/ip4/1.2.3.4/tcp": unexpected end of multiaddr"#),
        (#""ipfs_connector": {"ipfshttp": {"node_multiaddress": "/ip4/1.2.3.4/tcp/1", "pin_timeout": "-1s"}}"#,
            "ipfshttp.pin_timeout invalid"),
        (#""ipfs_connector": {"embedded": {"storage_max": "much"}}"#,
            #"error parsing embedded.storage_max: "much" is no size (such as 10GB)"#),
        (#""ipfs_connector": {"embedded": {}, "ipfshttp": {"node_multiaddress": "/ip4/1.2.3.4/tcp/1"}}"#,
            "ipfs_connector can have one of ipfshttp and embedded, not both"),
        (#""pin_tracker": {"stateless": {"concurrent_pins": -1}}"#, "statelesstracker.concurrent_pins is too low"),
        (#""pin_tracker": {"stateless": {"max_pin_queue_size": -1}}"#, "statelesstracker.max_pin_queue_size too low"),
        (#""pin_tracker": {"stateless": {"priority_pin_max_age": "0s"}}"#, "statelesstracker.priority_pin_max_age is too low"),
        (#""monitor": {"pubsubmon": {}}"#, "pubsubmon.check_interval too low"),
        (#""monitor": {"pubsubmon": {"check_interval": "soon"}}"#, "pubsubmon.check_interval too low"),
        (#""informer": {"disk": {"metric_type": "freespace"}}"#, "disk.metric_ttl is invalid"),
        (#""informer": {"disk": {"metric_ttl": "1s"}}"#, "disk.metric_type is invalid"),
        (#""informer": {"tags": {"metric_ttl": "-1s"}}"#, "tags.metric_ttl is invalid"),
        (#""informer": {"pinqueue": {"metric_ttl": "1s", "weight_bucket_size": -1}}"#, "pinqueue.WeightBucketSize is invalid"),
        (#""observations": {"metrics": {}}"#, #"loadMetricsOptions: PrometheusEndpoint multiaddr: failed to parse multiaddr "": empty multiaddr"#),
        (#""observations": {"tracing": {"jaeger_agent_endpoint": "/ip4/1.2.3.4/udp/1", "enable_tracing": true, "sampling_prob": -1}}"#,
            "tracing.sampling_prob is invalid"),
        (#""consensus": {"crdt": {"trusted_peers": ["x"]}}"#,
            "error parsing trusted peers: failed to parse peer ID: invalid cid: cid too short"),
        (#""consensus": {"crdt": {"rebroadcast_interval": "0s"}}"#, "crdt.rebroadcast_interval is invalid"),
        (#""consensus": {"crdt": {"repair_interval": "-1s"}}"#, "crdt.repair_interval is invalid"),
        (#""consensus": {"raft": {"network_timeout": "-1s"}}"#, "network_timeout <= 0"),
        (#""consensus": {"raft": {"backups_rotate": -1}}"#, "backups_rotate should be larger than 0"),
        (#""consensus": {"raft": {"election_timeout": "900ms"}}"#,
            "ElectionTimeout (900ms) must be equal or greater than Heartbeat Timeout (1s)"),
        (#""consensus": {"raft": {"leader_lease_timeout": "2s"}}"#,
            "LeaderLeaseTimeout (2s) cannot be larger than heartbeat timeout (1s)"),
        (#""consensus": {"raft": {"max_append_entries": 2000}}"#, "MaxAppendEntries is too large"),
        (#""datastore": {"badger": {"gc_discard_ratio": 1}}"#, "gc_discard_ratio must be more than 0 and less than 1"),
        (#""datastore": {"badger3": {"gc_sleep": "x"}}"#, #"error parsing badger.gc_sleep: time: invalid duration "x""#),
        (#""datastore": {"pebble": {"pebble_options": {"format_major_version": 3}}}"#,
            "FormatMajorVersion (3) must be between 13 and 24"),
        (#""datastore": {"pebble": {"pebble_options": {"levels": [{"block_size": "x"}]}}}"#,
            "json: cannot unmarshal string into pebble.pebble_options.levels.0.block_size of type int"),
        (#""api": 3"#, "json: cannot unmarshal api: it must be an object"),
        (#""api": {"restapi": 3}"#, "json: cannot unmarshal restapi: it must be an object"),
    ])
    func otherSections(_ section: String, _ expected: String) {
        #expect(failure(document(section)) == expected)
    }

    @Test(arguments: [
        ("CLUSTER_SECRET", "abc", "error loading cluster secret from config: encoding/hex: odd length hex string"),
        ("CLUSTER_LEAVEONSHUTDOWN", "yes",
            #"envconfig.Process: assigning CLUSTER_LEAVEONSHUTDOWN to LeaveOnShutdown: converting 'yes' to type bool. details: strconv.ParseBool: parsing "yes": invalid syntax"#),
        ("CLUSTER_REPLICATIONFACTORMIN", "1x",
            #"envconfig.Process: assigning CLUSTER_REPLICATIONFACTORMIN to ReplicationFactorMin: converting '1x' to type int. details: strconv.ParseInt: parsing "1x": invalid syntax"#),
        ("CLUSTER_CONNECTIONMANAGER_HIGHWATER", "99999999999999999999",
            #"envconfig.Process: assigning CLUSTER_CONNECTIONMANAGER_HIGHWATER to HighWater: converting '99999999999999999999' to type int. details: strconv.ParseInt: parsing "99999999999999999999": value out of range"#),
        ("CLUSTER_RESTAPI_HEADERS", "a",
            #"envconfig.Process: assigning CLUSTER_RESTAPI_HEADERS to Headers: converting 'a' to type map[string][]string. details: invalid map item: "a""#),
        ("CLUSTER_MDNSINTERVAL", "x", #"error parsing cluster.mdns_interval: time: invalid duration "x""#),
        ("CLUSTER_RESTAPI_BASICAUTHCREDENTIALS", "", "restapi.basic_auth_creds should be null or have at least one entry"),
        ("CLUSTER_TRACING_SAMPLINGPROB", "x",
            #"envconfig.Process: assigning CLUSTER_TRACING_SAMPLINGPROB to SamplingProb: converting 'x' to type float64. details: strconv.ParseFloat: parsing "x": invalid syntax"#),
    ])
    func wrongEnvironment(_ name: String, _ value: String, _ expected: String) {
        #expect(failure(environment: [name: value]) == expected)
    }

    /// A wrong credential does not get into an error text.
    @Test func errorsKeepSecrets() throws {
        let text = try #require(failure(environment: ["CLUSTER_RESTAPI_BASICAUTHCREDENTIALS": "alice:wonder:land"]))
        #expect(!text.contains("wonder") && text.contains("CLUSTER_RESTAPI_BASICAUTHCREDENTIALS"))
    }
}

@Suite struct DocumentTests {
    @Test func everyCutIsAnError() {
        let whole = text("config/crdt/service.json")
        for length in stride(from: 0, to: whole.utf8.count, by: 7) {
            #expect(failure(String(decoding: Array(whole.utf8.prefix(length)), as: UTF8.self)) != nil)
        }
        #expect(failure(whole + "x") != nil && failure(whole + "\n ") == nil && failure("[]") != nil)
    }

    /// CFG-040, CFG-041, CFG-042.
    @Test func missingSections() throws {
        let missing = "cluster section failed to validate: cluster.listen_multiaddress is undefined"
        for document in ["{}", "null", #"{"cluster": null}"#] { #expect(failure(document) == missing) }
        let bare = try read(document())
        #expect(throws: ConfigurationError("could not determine the consensus component")) { try bare.consensus() }
        #expect(throws: ConfigurationError("unknown datastore")) { try bare.datastore() }
        #expect(!bare.isPresent(.restapi) && !bare.isPresent(.disk) && bare.isPresent(.cluster))
        #expect(bare[.pubsubmon].span("check_interval") == .seconds(15))
        let both = try read(document(#""consensus": {"crdt": {}, "raft": {}}"#, #""datastore": {"pebble": {}, "leveldb": {}}"#))
        #expect(throws: ConfigurationError.self) { try both.consensus() }
        #expect(throws: ConfigurationError.self) { try both.datastore() }
        let null = try read(document(#""api": {"restapi": null}"#, #""consensus": {"crdt": {}}"#))
        #expect(!null.isPresent(.restapi))
        #expect(try null.consensus() == .crdt)
    }

    /// CFG-047, CFG-057..067, CFG-150.
    @Test func whatIsNotWritten() throws {
        let configuration = try read(document(#""api": {"restapi": {}}"#, #""consensus": {"crdt": {}}"#, #""informer": {"tags": {}}"#))
        let cluster = configuration[.cluster]
        #expect(!cluster.flag("enable_relay_hop") && !cluster.flag("disable_repinning"))
        #expect(cluster.int("connection_manager.high_water") == 400 && cluster.flag("resource_manager.enabled"))
        #expect(cluster.text("peername") == "host" && cluster.int("replication_factor_min") == -1)
        #expect(configuration.secret == nil)
        #expect(configuration.warnings.map(\.message) == ["Cluster secret is empty, cluster will start on unprotected network."])
        let api = configuration[.restapi]
        #expect(api.addresses("http_listen_multiaddress").map(\.description) == ["/ip4/127.0.0.1/tcp/9094"])
        #expect(!api.flag("cors_allow_credentials") && api.texts("cors_allowed_origins") == nil && api.int("max_header_bytes") == 4096)
        #expect(api.span("read_header_timeout") == .seconds(5) && api.span("cors_max_age") == .zero)
        #expect(configuration[.crdt].texts("trusted_peers") == [])
        #expect(configuration[.tags].map("tags") == nil && configuration[.tags].span("metric_ttl") == .seconds(30))
        #expect(try read(clusterWith(#""resource_manager": {}"#))[.cluster].flag("resource_manager.enabled") == false)
    }

    /// CFG-006..010.
    @Test func oddDocuments() throws {
        let configuration = try read(
            document(
                #""extra": 1"#, #""monitor": {"monbasic": {"a": [1, 2]}, "pubsubmon": {"CHECK_interval": "3s", "other": 1}}"#,
                cluster: #"{"LISTEN_multiaddress": ["/ip4/1.1.1.1/tcp/1"], "peername": "a", "peername": "b", "mdns_interval": null}"#))
        #expect(configuration[.cluster].text("peername") == "b" && configuration[.cluster].span("mdns_interval") == .seconds(10))
        #expect(configuration[.pubsubmon].span("check_interval") == .seconds(3))
        let written = try JSONReader.parse(configuration.encoded().utf8)
        #expect(written["extra"] == nil && written["monitor"]?["pubsubmon"]?["other"] == nil)
        #expect(written["monitor"]?["monbasic"]?["a"] == .array([.int(1), .int(2)]))
    }

    @Test func stringsInOneOrMore() throws {
        for (form, count) in [(#""/ip4/1.1.1.1/tcp/1""#, 1), (#"["/ip4/1.1.1.1/tcp/1", "/ip4/1.1.1.1/tcp/2"]"#, 2)] {
            let configuration = try read(document(cluster: #"{"listen_multiaddress": \#(form)}"#))
            #expect(configuration[.cluster].addresses("listen_multiaddress").count == count)
        }
        #expect(try read(clusterWith(#""announce_multiaddress": """#))[.cluster].addresses("announce_multiaddress").isEmpty)
    }

    /// CFG-158, CFG-159.
    @Test func toleratedDurations() throws {
        let configuration = try read(
            document(#""consensus": {"crdt": {"rebroadcast_interval": "x", "repair_interval": "5m"}}"#))
        #expect(configuration[.crdt].span("rebroadcast_interval") == .minutes(1))
        #expect(configuration[.crdt].span("repair_interval") == .minutes(5))
        let raft = try read(document(#""consensus": {"raft": {"network_timeout": "x", "heartbeat_timeout": "0s"}}"#))
        #expect(raft[.raft].span("network_timeout") == .seconds(10) && raft[.raft].span("heartbeat_timeout") == .seconds(1))
        #expect(raft.warnings.filter { $0.component == "raft" }.map(\.message)
            == ["x is not a valid duration. Default will be used", "0s is not a valid duration. Default will be used"])
    }

    @Test func peersAndTrust() throws {
        func crdt(_ trusted: String) throws -> [String]? {
            try read(document(#""consensus": {"crdt": {"trusted_peers": \#(trusted)}}"#))[.crdt].texts("trusted_peers")
        }
        #expect(try crdt(#"["\#(peer0)", "*", "nonsense"]"#) == ["*"])
        #expect(try crdt(#"["\#(peer0)"]"#) == [peer0])
        let raft = try read(document(#""consensus": {"raft": {"init_peerset": ["\#(peer0)", "nonsense", "\#(peer1)"]}}"#))
        #expect(raft[.raft].texts("init_peerset") == [peer0, peer1])
    }

    /// spec/config.md 10: zero never overrides, but for the two loading modes of badger.
    @Test func datastoreOptions() throws {
        let configuration = try read(
            document(
                #""datastore": {"badger": {"badger_options": {"sync_writes": false, "max_levels": 0, "num_compactors": 9, "table_loading_mode": 0}},"#
                    + #""pebble": {"folder": "f", "pebble_options": {"levels": [{"target_file_size": 100}]}}}"#))
        let badger = configuration[.badger]
        #expect(badger.flag("badger_options.sync_writes") && badger.int("badger_options.max_levels") == 7)
        #expect(badger.int("badger_options.num_compactors") == 9 && badger.int("badger_options.table_loading_mode") == 0)
        #expect(configuration[.pebble].text("folder") == "f")
        let levels = try JSONReader.parse(configuration.encoded().utf8)["datastore"]?["pebble"]?["pebble_options"]?["levels"]?.elements
        #expect(levels?.map { $0["target_file_size"]?.integer(Int.self) } == [100, 200, 400, 800, 1600, 3200, 6400])
    }

    @Test func environmentForms() throws {
        var configuration = try read(document(#""api": {"restapi": {}}"#))
        try configuration.apply(environment: [
            "CLUSTER_PUBSUB_DFACTOR": "0x8", "CLUSTER_ENABLERELAYHOP": "T", "CLUSTER_ANNOUNCEMULTIADDRESS": "/ip4/1.1.1.1/tcp/1,/ip4/1.1.1.1/tcp/2",
            "CLUSTER_RESTAPI_HEADERS": "A:b", "CLUSTER_RESTAPI_CORSALLOWEDORIGINS": "", "CLUSTER_PEERNAME": "",
            "CLUSTER_LEVELDB_LEVELDBOPTIONS_COMPACTIONTABLESIZEMULTIPLIERPERLEVEL": "1,2.5",
            "CLUSTER_PEBBLE_PEBBLEOPTIONS_FLUSHDELAYDELETERANGE": "1ms", "CLUSTER_MDNSINTERVAL": "", "CLUSTER_PUBSUBMON_CHECKINTERVAL": "9s",
            "CLUSTER_EMBEDDED_STORAGEMAX": "1GiB", "CLUSTER_FOLLOWERMODE": "1",
        ])
        let cluster = configuration[.cluster]
        #expect(cluster.int("pubsub.d_factor") == 8 && cluster.flag("enable_relay_hop") && cluster.flag("follower_mode"))
        #expect(cluster.addresses("announce_multiaddress").count == 2 && cluster.text("peername") == "host")
        #expect(cluster.span("mdns_interval") == .seconds(10))
        #expect(configuration[.restapi].lists("headers") == [Value.Named("A", ["b"])])
        #expect(configuration[.restapi].texts("cors_allowed_origins") == [])
        #expect(configuration[.leveldb].reals("leveldb_options.compaction_table_size_multiplier_per_level") == [1, 2.5])
        #expect(configuration[.pebble].int("pebble_options.flush_delay_delete_range") == 1_000_000)
        // CFG-032
        #expect(configuration[.pubsubmon].span("check_interval") == .seconds(9) && !configuration.isPresent(.pubsubmon))
        #expect(byteCount(configuration[.embedded].text("storage_max")) == 1 << 30)
    }

    @Test func embeddedInsteadOfKubo() throws {
        let configuration = ServiceConfiguration(
            generatedFor: .crdt, datastore: .pebble, hasEmbeddedIPFS: true, secret: Bytes(repeating: 1, count: 32), hostName: "h")
        let connectors = try JSONReader.parse(configuration.encoded().utf8)["ipfs_connector"]
        #expect(connectors?.encoded()
            == #"{"embedded":{"repo_folder":"ipfs","storage_max":"10GB","pin_timeout":"2m0s","unpin_disable":false}}"#)
        #expect(try read(configuration.encoded()).isPresent(.embedded))
        for (text, size) in [("10GB", 10_000_000_000), ("5 MiB", 5 << 20), ("7", 7), ("1.5kB", 1500)] as [(String, UInt64)] {
            #expect(byteCount(text) == size)
        }
        for text in ["", "GB", "-1", "1XB", "1e40GB"] { #expect(byteCount(text) == nil, "\(text)") }
    }

    /// CFG-014.
    @Test func displayHidesSecrets() throws {
        var configuration = try InitCase("crdt-env").generated()
        try configuration.apply(environment: [:])
        let shown = configuration.encodedForDisplay()
        #expect(!shown.contains("0123456789abcdef") && !shown.contains("alice"))
        let json = try JSONReader.parse(shown.utf8)
        #expect(json["cluster"]?["secret"] == "XXX_hidden_XXX" && json["api"]?["restapi"]?["private_key"] == "XXX_hidden_XXX")
        #expect(json["cluster"]?["follower_mode"] == .bool(false) && json["consensus"]?["crdt"]?["rebroadcast_interval"] == "")
    }
}

extension JSON: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self = .string(value) }
}

/// Every value of a document replaced by every other kind of value, one at a time.
@Suite struct ReplacementTests {
    private static let intruders: [JSON] = [
        .null, .bool(true), .int(0), .int(-1), .number("1.5"), .number("18446744073709551615"), "", "x", "7s", .array([]),
        .strings(["x", "/ip4/1.1.1.1/tcp/1"]), .object([]), .object(["a": "b"]),
    ]

    private func variants(_ json: JSON) -> [JSON] {
        var out = Self.intruders
        switch json {
        case .object(let members):
            for (index, member) in members.enumerated() {
                for variant in variants(member.value) {
                    var changed = members
                    changed[index] = JSON.Member(member.name, variant)
                    out.append(.object(changed))
                }
            }
        case .array(let items) where items.count <= 3:
            for (index, item) in items.enumerated() {
                for variant in variants(item) {
                    var changed = items
                    changed[index] = variant
                    out.append(.array(changed))
                }
            }
        default: break
        }
        return out
    }

    /// Each is refused with a reason, or read; what was read is written so that it is read again as the same.
    @Test(arguments: ["raft", "crdt-env", "crdt-badger"]) func refusedOrUnderstood(_ name: String) throws {
        let whole = try JSONReader.parse(Golden.bytes("config/\(name)/service.json"))
        var (refused, understood) = (0, 0)
        for section in ["cluster", "consensus", "api", "ipfs_connector", "informer", "observations", "datastore"] {
            for variant in variants(whole[section] ?? .null) {
                let document = JSON.object([
                    JSON.Member("cluster", .object(["listen_multiaddress": "/ip4/1.1.1.1/tcp/1"])), JSON.Member(section, variant),
                ])
                guard let configuration = try? read(document.encoded()) else { refused += 1; continue }
                understood += 1
                let written = configuration.encoded()
                #expect(try read(written).encoded() == written)
            }
        }
        #expect(refused > 300 && understood > 300)
    }
}

@Suite struct SourceTests {
    private let good = Bytes(document(#""consensus": {"crdt": {}}"#).utf8)
    private func load(_ answers: [String: FetchedSource]) throws -> ServiceConfiguration {
        try ServiceConfiguration(document: Bytes(#"{"source": "http://a/x", "cluster": {}}"#.utf8), hostName: "h") { answers[$0] }
    }

    @Test func theSourceCounts() throws {
        let configuration = try load(["http://a/x": FetchedSource(status: 200, body: good)])
        #expect(configuration.source == "http://a/x")
        #expect(try configuration.consensus() == .crdt)
        #expect(configuration.encoded() == "{\n  \"source\": \"http://a/x\"\n}")
    }

    /// CFG-036.
    @Test func failures() {
        #expect(throws: ConfigurationError("could not fetch configuration from source: http://a/x")) { try load([:]) }
        #expect(throws: ConfigurationError("unsuccessful request (404): gone")) {
            try load(["http://a/x": FetchedSource(status: 404, body: Bytes("gone".utf8))])
        }
        let pointer = FetchedSource(status: 200, body: Bytes(#"{"source": "http://b/y"}"#.utf8))
        #expect(throws: ConfigurationError("could not fetch configuration from source: http://b/y")) { try load(["http://a/x": pointer]) }
        #expect(throws: ConfigurationError("a sourced configuration cannot point to another source")) {
            try load(["http://a/x": pointer, "http://b/y": FetchedSource(status: 200, body: good)])
        }
    }
}
