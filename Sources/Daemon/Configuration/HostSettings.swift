// From service.json to the settings of a peer's libp2p host.

import Encoding
import Transport

/// `memoryBytes` and `descriptors` are what the machine has and the process may open: upstream takes a quarter and a half of
/// them where the configuration says nothing (RM-01).
package func hostSettings(
    from configuration: ServiceConfiguration, memoryBytes: Int, descriptors: Int
) -> HostSettings {
    let cluster = configuration[.cluster]
    var settings = HostSettings()
    settings.dialTimeout = cluster.span("dial_peer_timeout")
    var marks = Watermarks()
    marks.low = Int(cluster.int("connection_manager.low_water"))
    marks.high = Int(cluster.int("connection_manager.high_water"))
    marks.gracePeriod = cluster.span("connection_manager.grace_period")
    settings.watermarks = marks
    guard cluster.flag("resource_manager.enabled") else {
        settings.resources = .unlimited
        return settings
    }
    let memory = Int(clamping: cluster.unsigned("resource_manager.memory_limit_bytes"))
    let files = Int(clamping: cluster.unsigned("resource_manager.file_descriptors_limit"))
    settings.resources = ResourceLimits(
        memoryBytes: memory > 0 ? memory : max(memoryBytes / 4, 1 << 20), descriptors: files > 0 ? files : descriptors / 2,
        highWater: marks.high)
    return settings
}

extension HostSettings {
    /// In upstream's words: what its operators look for in the log.
    package var resourcesLine: String {
        if resources == .unlimited { return "go-libp2p Resource Manager DISABLED" }
        let memory = byteText(UInt64(clamping: resources.memoryBytes))
        return "go-libp2p Resource Manager ENABLED: Limits based on max_memory: \(memory), max_fds: \(resources.descriptors)"
    }
}
