// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import com.sun.management.OperatingSystemMXBean;
import io.llmc.backend.Backend;
import io.llmc.backend.MachineProbe;
import io.llmc.tensor.DType;
import java.lang.management.ManagementFactory;
import java.util.Map;

/// What a device can do at most.
///
/// @param name as people ask for it: `h100`
/// @param title as its maker calls it
/// @param memory bytes
/// @param bandwidth of that memory, bytes a second
/// @param link bytes a second that it sends to its neighbours while it receives as many; 0 where
///   nothing says
/// @param peaks operations a second, additions and multiplications counted each
public record DeviceSpec(
        String name,
        String title,
        double memory,
        double bandwidth,
        double link,
        Map<Arithmetic, Double> peaks) {
    public DeviceSpec {
        boolean fits =
                memory > 0
                        && bandwidth > 0
                        && link >= 0
                        && peaks.getOrDefault(Arithmetic.F32, 0.0) > 0
                        && peaks.values().stream().allMatch(peak -> peak > 0);
        if (!fits) {
            throw new IllegalArgumentException("no device of these rates: " + name);
        }
        peaks = Map.copyOf(peaks);
    }

    /// This machine, as the backend's own kernels find it in their fastest runs: what else it does
    /// only slows them. Takes some seconds.
    public static DeviceSpec measured(Backend backend) {
        MachineProbe probe = MachineProbe.USUAL;
        return new DeviceSpec(
                "this",
                "this machine, " + backend.device(),
                memory(backend),
                probe.bandwidth(backend).best(),
                0,
                Map.of(
                        Arithmetic.F32, probe.products(backend, DType.F32).best(),
                        Arithmetic.BF16, probe.products(backend, DType.BF16).best()));
    }

    /// Bytes of the memory that the backend computes in.
    public static double memory(Backend backend) {
        return backend.sharesHostMemory()
                ? ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class)
                        .getTotalMemorySize()
                : backend.room();
    }

    /// Operations a second of products of such numbers, or of those that stand in for them.
    public double peak(Arithmetic arithmetic) {
        return arithmetic.instead().stream()
                .filter(peaks::containsKey)
                .findFirst()
                .map(peaks::get)
                .orElseThrow();
    }
}
