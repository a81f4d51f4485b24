// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendOptions.Compute;
import io.llmc.backend.BackendOptions.Math;
import io.llmc.backend.MachineProbe;
import io.llmc.backend.MachineProbe.Rate;
import io.llmc.cli.options.DeviceOptions;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.plan.Arithmetic;
import io.llmc.pipeline.plan.DeviceSpec;
import io.llmc.pipeline.plan.DeviceTable;
import io.llmc.tensor.DType;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/// Devices of this machine, as llmc's own kernels find them.
record MeasuredDevices(Devices devices, Progress progress) {
    /// The name of this machine's processor in plans.
    private static final String THIS = "this";

    private static final String CPU = "cpu";

    /// @param names of the table, `this`, or those of `llmc devices`; none for all of the table
    List<DeviceSpec> named(List<String> names, DeviceTable table) {
        List<String> foreign = names.stream().filter(name -> !knows(name)).toList();
        foreign.forEach(name -> table.find(name, "--device"));
        return names.isEmpty()
                ? List.copyOf(table.devices().values())
                : names.stream()
                        .map(n -> foreign.contains(n) ? table.find(n, "--device") : measure(n))
                        .toList();
    }

    private boolean knows(String name) {
        return name.equals(THIS) || devices.all().stream().anyMatch(d -> d.name().equals(name));
    }

    /// Takes some seconds.
    ///
    /// @param name `this`, or a device of `llmc devices`
    private DeviceSpec measure(String name) {
        String device = name.equals(THIS) ? CPU : name;
        progress.begin("measuring " + device, Compute.values().length);
        Map<Arithmetic, Double> peaks = new EnumMap<>(Arithmetic.class);
        double bandwidth = 0;
        double memory = 0;
        for (Compute compute : Compute.values()) {
            try (Backend backend = open(device, compute)) {
                if (compute == Compute.F32) {
                    bandwidth = noted("memory", "GB/s", 1e9, MachineProbe.USUAL.bandwidth(backend));
                    memory = DeviceSpec.memory(backend);
                }
                peaks.put(arithmetic(compute), peak(backend, compute));
            } catch (UserException e) {
                progress.note(
                        "%s: no products of %s: %s".formatted(device, compute, e.getMessage()));
            }
            progress.advance(1, "");
        }
        progress.end();
        return new DeviceSpec(name, device, memory, bandwidth, 0, peaks);
    }

    @SuppressWarnings("MustBeClosed") // the caller closes it
    private Backend open(String device, Compute compute) {
        int threads = Runtime.getRuntime().availableProcessors();
        BackendOptions options = new BackendOptions(threads, Math.AUTO, Long.MAX_VALUE, compute);
        return devices.open(new DeviceOptions.DeviceSpec(device, options), Progress.NONE);
    }

    private double peak(Backend backend, Compute compute) {
        MachineProbe probe = MachineProbe.USUAL;
        Rate rate =
                switch (compute) {
                    case F32 -> probe.products(backend, DType.F32);
                    case BF16 -> probe.products(backend, DType.BF16);
                    case INT8 -> probe.integerProducts(backend);
                };
        return noted("products of " + compute, "TFLOP/s", 1e12, rate);
    }

    private static Arithmetic arithmetic(Compute compute) {
        return switch (compute) {
            case F32 -> Arithmetic.F32;
            case BF16 -> Arithmetic.BF16;
            case INT8 -> Arithmetic.INT8;
        };
    }

    /// The median; half of the runs lay between the two others.
    private double noted(String what, String unit, double one, Rate rate) {
        progress.note(
                "%s: %.3g %s (%.3g to %.3g)"
                        .formatted(
                                what,
                                rate.median() / one,
                                unit,
                                rate.low() / one,
                                rate.high() / one));
        return rate.median();
    }
}
