// Keys of the cluster, consensus, tracker, monitor, allocator and informer sections. CFG-048..085, CFG-118..175.

import Encoding
import Kernel
import Multiformats

extension Component {
    static let cluster = Component(
        name: .cluster,
        keys: [
            // Once the identity (CFG-214): Identity reads them.
            Key("id", .text, .text(""), shown: .unlessZero, isIgnored: true),
            .text("peername", zero: .keeps),
            Key("private_key", .text, .text(""), shown: .unlessZero, isHidden: true, isIgnored: true),
            Key("secret", .secret, .text(""), failure: "error loading cluster secret from config", isHidden: true),
            .flag("leave_on_shutdown", false),
            .addresses(
                "listen_multiaddress", ["/ip4/0.0.0.0/tcp/9096", "/ip4/0.0.0.0/udp/9096/quic"],
                failure: "error parsing listen_multiaddress"),
            .addresses("announce_multiaddress", [], failure: "error parsing announce"),
            .addresses("no_announce_multiaddress", [], failure: "error parsing no_announce"),
            .flag("enable_relay_hop", true),
            .int("connection_manager.high_water", 400),
            .int("connection_manager.low_water", 100),
            .span("connection_manager.grace_period", .minutes(2), zero: .counts),
            .flag("resource_manager.enabled", true),
            .unsigned("resource_manager.memory_limit_bytes", 0),
            .unsigned("resource_manager.file_descriptors_limit", 0),
            .span("pubsub.seen_messages_ttl", .minutes(30)),
            .span("pubsub.heartbeat_interval", .seconds(10)),
            .int("pubsub.d_factor", 4),
            .int("pubsub.history_gossip", 2),
            .int("pubsub.history_length", 6),
            .flag("pubsub.flood_publish", false),
            .span("dial_peer_timeout", .seconds(3)),
            .span("state_sync_interval", .minutes(5)),
            .span("pin_recover_interval", .minutes(12)),
            .int("replication_factor_min", -1, zero: .keeps),
            .int("replication_factor_max", -1, zero: .keeps),
            .span("monitor_ping_interval", .seconds(15)),
            .span("peer_watch_interval", .seconds(5)),
            .span("mdns_interval", .seconds(10)),
            .flag("pin_only_on_trusted_peers", false),
            .flag("pin_only_on_untrusted_peers", false),
            .flag("disable_repinning", true),
            .flag("follower_mode", false, shown: .unlessZero),
            .text("peerstore_file", zero: .keeps, shown: .unlessZero),
            Key("peer_addresses", .addressList, .addresses([]), failure: "error parsing peer_addresses"),
        ],
        checks: [
            filled("listen_multiaddress", "cluster.listen_multiaddress is undefined"),
            above(0, "connection_manager.low_water", "cluster.connection_manager.low_water is invalid"),
            above(0, "connection_manager.high_water", "cluster.connection_manager.high_water is invalid"),
            {
                $0.int("connection_manager.low_water") > $0.int("connection_manager.high_water")
                    ? "cluster.connection_manager.low_water is greater than high_water" : nil
            },
            filled("connection_manager.grace_period", "cluster.connection_manager.grace_period is invalid"),
            above(0, "pubsub.seen_messages_ttl", "cluster.pubsub.seen_message_ttl is invalid"),
            above(0, "pubsub.heartbeat_interval", "cluster.pubsub.heartbeat_interval is invalid"),
            atLeast(1, "pubsub.d_factor", "cluster.pubsub.d_factor is invalid"),
            above(0, "pubsub.history_gossip", "cluster.pubsub.history_gossip is invalid"),
            above(0, "pubsub.history_length", "cluster.pubsub.history_length is invalid"),
            above(0, "dial_peer_timeout", "cluster.dial_peer_timeout is invalid"),
            above(0, "state_sync_interval", "cluster.state_sync_interval is invalid"),
            above(0, "pin_recover_interval", "cluster.pin_recover_interval is invalid"),
            above(0, "monitor_ping_interval", "cluster.monitoring_interval is invalid"),
            above(0, "peer_watch_interval", "cluster.peer_watch_interval is invalid"),
            {
                $0.flag("pin_only_on_trusted_peers") && $0.flag("pin_only_on_untrusted_peers")
                    ? "cluster.pin_only_on_trusted_peers and pin_only_on_untrusted_peers cannot both be true" : nil
            },
            { replicationFailure(min: $0.int("replication_factor_min"), max: $0.int("replication_factor_max")) },
        ])

    /// CFG-083.
    private static func replicationFailure(min: Int64, max: Int64) -> String? {
        if min == 0 || max == 0 { return "cluster.replication_factor_min and max must be set" }
        if min > max { return "cluster.replication_factor_min is larger than max" }
        if min < -1 { return "cluster.replication_factor_min is wrong" }
        if max < -1 { return "cluster.replication_factor_max is wrong" }
        if (min == -1) != (max == -1) { return "cluster.replication_factor_min and max must be -1 when one of them is" }
        return nil
    }

    static let crdt = Component(
        name: .crdt,
        keys: [
            .text("cluster_name", "ipfs-cluster", zero: .keeps),
            Key("trusted_peers", .trustedPeers, .texts(["*"]), failure: "error parsing trusted peers"),
            .int("batching.max_batch_size", 0),
            .span("batching.max_batch_age", .zero, bad: .keepsDefault),
            .int("batching.max_queue_size", 50_000, zero: .keeps, shown: .unlessInitial),
            .span("repair_interval", .hours(1), bad: .keepsDefault),
            .span("rebroadcast_interval", .minutes(1), bad: .keepsDefault, shown: .unlessInitial),
            .text("peerset_metric", "ping", zero: .keeps, shown: .unlessInitial),
            .text("datastore_namespace", "/c", zero: .keeps, shown: .unlessInitial),
        ],
        checks: [
            above(0, "rebroadcast_interval", "crdt.rebroadcast_interval is invalid"),
            above(0, "batching.max_queue_size", "crdt.batching.max_queue_size is invalid"),
            atLeast(0, "repair_interval", "crdt.repair_interval is invalid"),
        ])

    static let raft = Component(
        name: .raft,
        keys: [
            .text("data_folder", zero: .keeps, shown: .unlessZero),
            Key("init_peerset", .readablePeers, .texts([])),
            raftSpan("wait_for_leader_timeout", .seconds(15)),
            raftSpan("network_timeout", .seconds(10)),
            .int("commit_retries", 1),
            raftSpan("commit_retry_delay", .milliseconds(200)),
            .int("backups_rotate", 6, zero: .keeps),
            Key("datastore_namespace", .text, .text("/r"), shown: .unlessInitial, isIgnored: true),
            raftSpan("heartbeat_timeout", .seconds(1)),
            raftSpan("election_timeout", .seconds(1)),
            raftSpan("commit_timeout", .milliseconds(50)),
            .int("max_append_entries", 64, zero: .keeps, shown: .unlessZero),
            .unsigned("trailing_logs", 10_240, zero: .keeps, shown: .unlessZero),
            raftSpan("snapshot_interval", .minutes(2)),
            .unsigned("snapshot_threshold", 8192, zero: .keeps, shown: .unlessZero),
            raftSpan("leader_lease_timeout", .milliseconds(500)),
        ],
        checks: [
            above(0, "wait_for_leader_timeout", "wait_for_leader_timeout <= 0"),
            above(0, "network_timeout", "network_timeout <= 0"),
            atLeast(0, "commit_retries", "commit_retries is invalid"),
            above(0, "commit_retry_delay", "commit_retry_delay is invalid"),
            above(0, "backups_rotate", "backups_rotate should be larger than 0"),
            atLeast(5_000_000, "heartbeat_timeout", "HeartbeatTimeout is too low"),
            atLeast(5_000_000, "election_timeout", "ElectionTimeout is too low"),
            atLeast(1_000_000, "commit_timeout", "CommitTimeout is too low"),
            above(0, "max_append_entries", "MaxAppendEntries must be positive"),
            { $0.int("max_append_entries") > 1024 ? "MaxAppendEntries is too large" : nil },
            atLeast(5_000_000, "snapshot_interval", "SnapshotInterval is too low"),
            atLeast(5_000_000, "leader_lease_timeout", "LeaderLeaseTimeout is too low"),
            {
                let (lease, heartbeat) = ($0.span("leader_lease_timeout"), $0.span("heartbeat_timeout"))
                return lease > heartbeat
                    ? "LeaderLeaseTimeout (\(lease.goText)) cannot be larger than heartbeat timeout (\(heartbeat.goText))" : nil
            },
            {
                let (election, heartbeat) = ($0.span("election_timeout"), $0.span("heartbeat_timeout"))
                return election < heartbeat
                    ? "ElectionTimeout (\(election.goText)) must be equal or greater than Heartbeat Timeout (\(heartbeat.goText))"
                    : nil
            },
        ])

    private static func raftSpan(_ path: String, _ initial: Span) -> Key { .span(path, initial, bad: .keepsDefault) }

    static let stateless = Component(
        name: .stateless,
        keys: [
            .int("max_pin_queue_size", 1_000_000, zero: .keeps, shown: .unlessInitial),
            .int("concurrent_pins", 10, zero: .keeps),
            .span("priority_pin_max_age", .hours(24)),
            .int("priority_pin_max_retries", 5, zero: .keeps),
        ],
        checks: [
            above(0, "max_pin_queue_size", "statelesstracker.max_pin_queue_size too low"),
            above(0, "concurrent_pins", "statelesstracker.concurrent_pins is too low"),
            above(0, "priority_pin_max_age", "statelesstracker.priority_pin_max_age is too low"),
            above(0, "priority_pin_max_retries", "statelesstracker.priority_pin_max_retries is too low"),
        ])

    static let pubsubmon = Component(
        name: .pubsubmon, keys: [.span("check_interval", .seconds(15), bad: .isZero, zero: .counts)],
        checks: [above(0, "check_interval", "pubsubmon.check_interval too low")])

    static let balanced = Component(
        name: .balanced, keys: [.texts("allocate_by", ["tag:group", "freespace"], zero: .keeps)])

    static let disk = Component(
        name: .disk,
        keys: [
            .span("metric_ttl", .seconds(30), bad: .isZero, zero: .counts),
            Key("metric_type", .choice(["freespace", "reposize"]), .text("freespace"), failure: "disk.metric_type is invalid"),
        ],
        checks: [above(0, "metric_ttl", "disk.metric_ttl is invalid")])

    static let pinqueue = Component(
        name: .pinqueue,
        keys: [
            .span("metric_ttl", .seconds(30), bad: .isZero, zero: .counts),
            .int("weight_bucket_size", 100_000),
        ],
        checks: [
            above(0, "metric_ttl", "pinqueue.metric_ttl is invalid"),
            atLeast(0, "weight_bucket_size", "pinqueue.WeightBucketSize is invalid"),
        ])

    static let tags = Component(
        name: .tags,
        keys: [
            .span("metric_ttl", .seconds(30)),
            Key("tags", .map, .map([Value.Named("group", "default")])),
        ],
        checks: [above(0, "metric_ttl", "tags.metric_ttl is invalid")])
}
