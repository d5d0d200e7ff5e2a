//! Processes under test: started, watched through `/proc`, and stopped. Linux only.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::system_calls::ask_to_end;

/// One tick of `/proc/PID/stat`, in microseconds: `USER_HZ` is 100 on every Linux there is.
const TICK_US: f64 = 10_000.0;
/// How long a process may take to end by itself.
const STOP_TIME: Duration = Duration::from_secs(5);

/// A started program with the processes that it starts itself. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts a program whose output and errors go to a file.
    ///
    /// # Errors
    /// It cannot be started, or the file not be made.
    pub(crate) fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: command.spawn()? })
    }

    /// Asks it to end, waits, and ends it.
    pub(crate) fn stop(&mut self) {
        if self.is_running() {
            ask_to_end(self.child.id());
            let asked = Instant::now();
            while asked.elapsed() < STOP_TIME {
                if !self.is_running() {
                    return;
                }
                sleep(Duration::from_millis(2));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Tells whether it is still running.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the ids of it and of its children, such as nginx's workers.
    fn ids(&self) -> Vec<u32> {
        let root = self.child.id();
        let children = fs::read_to_string(format!("/proc/{root}/task/{root}/children")).unwrap_or_default();
        let mut ids = vec![root];
        ids.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        ids
    }

    /// Returns the CPU time of all threads of all its processes, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.ids().into_iter().map(cpu_us_of).sum()
    }

    /// Returns the resident memory of all its processes in KiB; what two of them share counts twice.
    pub(crate) fn rss_kib(&self) -> f64 {
        self.ids().into_iter().map(rss_kib_of).sum()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the CPU time of this process, in microseconds.
pub(crate) fn own_cpu_us() -> f64 {
    cpu_us_of(std::process::id())
}

/// Returns the CPU time of a process: to the nanosecond where the kernel keeps account of its
/// scheduling, otherwise in ticks of ten milliseconds.
fn cpu_us_of(id: u32) -> f64 {
    scheduled_us_of(id).unwrap_or_else(|| {
        fs::read_to_string(format!("/proc/{id}/stat")).map_or(0.0, |stat| cpu_us_in(&stat))
    })
}

/// Adds up what the threads that are there have run. What ended threads ran is not in it; none of
/// the systems starts and ends threads under load.
fn scheduled_us_of(id: u32) -> Option<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{id}/task")).ok()? {
        // A thread may end between the two steps.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        nanoseconds += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    (nanoseconds > 0.0).then_some(nanoseconds / 1000.0)
}

/// Reads `utime` and `stime`, fields 14 and 15; the name before them may hold anything.
fn cpu_us_in(stat: &str) -> f64 {
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0.0 };
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() * TICK_US
}

fn rss_kib_of(id: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

/// Returns the time that all CPUs of the machine have been busy, in microseconds.
pub(crate) fn machine_busy_us() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, then idle and iowait, then irq and softirq.
    [0, 1, 2, 5, 6].iter().filter_map(|field| ticks.get(*field)).sum::<f64>() * TICK_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_process_is_called() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 3 0";
        assert!((cpu_us_in(stat) - 420_000.0).abs() < f64::EPSILON);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_is_watched_and_ends_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut program =
            Program::start(Command::new("sleep").arg("60"), &folder.path().join("log")).unwrap();
        assert!(program.is_running());
        assert!(program.rss_kib() > 0.0);
        program.stop();
        assert!(!program.is_running());
    }
}
