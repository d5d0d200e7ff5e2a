//! The gateway's own settings, resolved.

use std::time::Duration;

use crate::problem::Findings;
use crate::section::Section;
use crate::{Limits, LogFormat, LogLevel, ServerConfig, Timeouts};

/// Reads `[llm]`, `[llm.limits]` and `[llm.timeout]`; what is unset or wrong keeps its default.
pub(super) fn read(llm: &Section<'_>, limits: &Section<'_>, timeout: &Section<'_>) -> ServerConfig {
    let default = ServerConfig::default();
    let level = llm.word("log_level", LogLevel::ALL, LogLevel::as_str);
    let format = llm.word("log_format", LogFormat::ALL, LogFormat::as_str);
    let hosts = llm.texts("allowed_hosts").map(|set| set.value).unwrap_or_default();
    ServerConfig {
        host: llm.text("host").map_or(default.host, |set| set.value),
        port: llm.whole("port").and_then(|set| set.value.try_into().ok()).unwrap_or(default.port),
        log_level: level.map_or(default.log_level, |set| set.value),
        log_format: format.map_or(default.log_format, |set| set.value),
        limits: read_limits(limits),
        timeouts: read_timeouts(timeout),
        allowed_hosts: hosts.into_iter().map(|host| host.trim().to_ascii_lowercase()).collect(),
        allow_unauthenticated: llm.flag("allow_unauthenticated").is_some_and(|set| set.value),
        allow_admin_paths: llm.flag("allow_admin_paths").is_some_and(|set| set.value),
        sse_keepalive: llm
            .seconds("sse_keepalive_sec")
            .map(|set| set.value)
            .filter(|time| *time > Duration::ZERO),
        estimate_usage: llm.flag("estimate_usage").is_some_and(|set| set.value),
        // Tables of their own, which others read.
        tls: default.tls,
        load_balancing: default.load_balancing,
        retry: default.retry,
        circuit_breaker: default.circuit_breaker,
        health_check: default.health_check,
    }
}

fn read_limits(limits: &Section<'_>) -> Limits {
    let default = Limits::default();
    let seconds = |name, default| limits.seconds(name).map_or(default, |set| set.value);
    let count =
        |name, default| limits.whole(name).and_then(|set| usize::try_from(set.value).ok()).unwrap_or(default);
    let max_request_bytes =
        limits.whole("max_request_size_mb").map_or(default.max_request_bytes, |set| set.value << 20);
    let max_connections = count("max_connections", default.max_connections);
    Limits {
        max_request_bytes,
        // 0 means no limit.
        max_upload_bytes: limits
            .whole("max_upload_size_mb")
            .map_or(default.max_upload_bytes, |set| (set.value > 0).then_some(set.value << 20)),
        max_request_duration: seconds("max_request_duration_sec", default.max_request_duration),
        max_connections,
        // 0 means no limit.
        max_connections_per_ip: match limits.whole("max_connections_per_ip") {
            Some(set) => set.value.try_into().ok().filter(|&most| most > 0),
            None => Some((max_connections / 2).max(1)),
        },
        max_streams_per_connection: limits
            .whole("max_streams_per_connection")
            .and_then(|set| set.value.try_into().ok())
            .unwrap_or(default.max_streams_per_connection),
        // 0 asks nobody.
        ping_interval: limits
            .seconds("ping_interval")
            .map_or(default.ping_interval, |set| Some(set.value).filter(|time| *time > Duration::ZERO)),
        ping_timeout: seconds("ping_timeout", default.ping_timeout),
        header_timeout: seconds("header_timeout", default.header_timeout),
        idle_timeout: seconds("idle_timeout", default.idle_timeout),
        body_idle_timeout: seconds("body_idle_timeout", default.body_idle_timeout),
        min_body_rate: limits.whole("min_body_rate").map_or(default.min_body_rate, |set| set.value),
        max_in_flight: count("max_in_flight", default.max_in_flight),
        // Where only bodies were made larger, the memory for them grows too.
        max_body_memory_bytes: limits
            .whole("max_body_memory_mb")
            .map_or(default.max_body_memory_bytes.max(max_request_bytes), |set| set.value << 20),
        body_memory_wait: seconds("body_memory_wait", default.body_memory_wait),
        max_head_bytes: count("max_header_size_kb", default.max_head_bytes >> 10) << 10,
        max_headers: count("max_headers", default.max_headers),
    }
}

/// Reports bounds of which one could never be reached, since another is met before.
pub(super) fn check(limits: &Section<'_>, server: &ServerConfig, findings: &mut Findings) {
    let Limits { max_body_memory_bytes, max_request_bytes, .. } = server.limits;
    if let Some(set) =
        limits.whole("max_body_memory_mb").filter(|_| max_body_memory_bytes < max_request_bytes)
    {
        let message = format!(
            "a body may have {} MiB (`max_request_size_mb`), and all together no less: set this at least as high",
            max_request_bytes >> 20
        );
        findings.problem(set.origin.key, set.origin.source, message);
    }
}

fn read_timeouts(timeout: &Section<'_>) -> Timeouts {
    let default = Timeouts::default();
    let seconds = |name| timeout.seconds(name).map(|set| set.value);
    // 0 means no limit.
    let wait = |name, default| seconds(name).map_or(default, |time| (time > Duration::ZERO).then_some(time));
    Timeouts {
        connection: wait("connection", default.connection),
        first_byte: wait("first_byte", default.first_byte),
        read: wait("read", default.read),
        write: wait("write", default.write),
        total: wait("total", default.total),
        drain: seconds("drain").unwrap_or(default.drain),
        drain_delay: seconds("drain_delay").unwrap_or(default.drain_delay),
    }
}
