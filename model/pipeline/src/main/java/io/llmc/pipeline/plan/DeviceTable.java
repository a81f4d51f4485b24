// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;

/// Devices by name.
///
///     devices:
///       - {name: h100, title: H100 SXM, memory: 80, bandwidth: 3350, link: 450, f32: 67, bf16: 989}
///
/// Memory is in GB, bandwidths are in GB/s, peaks in dense TFLOP/s, all in powers of ten, as data
/// sheets have them.
public record DeviceTable(SequencedMap<String, DeviceSpec> devices) {
    /// @throws RecipeException naming the place of what is wrong
    public static DeviceTable read(Options file) {
        SequencedMap<String, DeviceSpec> devices = new LinkedHashMap<>();
        for (Options device : file.sections("devices")) {
            DeviceSpec spec = device(device);
            devices.put(spec.name(), spec);
        }
        file.finish();
        return new DeviceTable(devices);
    }

    private static DeviceSpec device(Options o) {
        Map<Arithmetic, Double> peaks = new EnumMap<>(Arithmetic.class);
        for (Arithmetic a : Arithmetic.values()) {
            String key = Options.spelling(a);
            if (o.has(key)) {
                peaks.put(a, positive(o, key) * 1e12);
            }
        }
        if (!peaks.containsKey(Arithmetic.F32)) {
            throw o.error("f32", "f32 is missing, the TFLOP/s of plain floats");
        }
        return new DeviceSpec(
                o.text("name"),
                o.text("title", o.text("name")),
                positive(o, "memory") * 1e9,
                positive(o, "bandwidth") * 1e9,
                o.has("link") ? positive(o, "link") * 1e9 : 0,
                peaks);
    }

    private static double positive(Options o, String key) {
        double value = o.decimal(key, 0);
        if (!(value > 0)) {
            throw o.error(key, "%s is missing, or not above 0".formatted(key));
        }
        return value;
    }

    /// This table and another, whose devices win.
    public DeviceTable and(DeviceTable other) {
        SequencedMap<String, DeviceSpec> all = new LinkedHashMap<>(devices);
        all.putAll(other.devices);
        return new DeviceTable(all);
    }

    /// @param place what a person looks for where the name is wrong: `--device`
    /// @throws RecipeException where there is none of that name, with the nearest that there is
    public DeviceSpec find(String name, String place) {
        DeviceSpec found = devices.get(name);
        if (found == null) {
            Optional<String> near = Options.nearest(name, devices.keySet());
            List<String> known = List.copyOf(devices.keySet());
            throw new RecipeException(
                    place,
                    "no device is called %s%s"
                            .formatted(
                                    name,
                                    near.map(n -> "; did you mean " + n + "?")
                                            .orElse(
                                                    "; known: %s, and this for this machine"
                                                            .formatted(String.join(", ", known)))));
        }
        return found;
    }
}
