// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import java.util.List;
import java.util.Optional;

/// Dense rates from NVIDIA's data sheets.
///
/// @param key what the driver's name of such a device holds
/// @param bandwidth GB/s
/// @param tensor bf16 with sums in F32, TFLOP/s, as are the others
record Card(String name, String key, double bandwidth, double tensor, double f32, double f64) {
    static final List<Card> ALL =
            List.of(
                    new Card("H100 SXM", "H100", 3350, 989, 67, 34),
                    new Card("H200", "H200", 4800, 989, 67, 34),
                    new Card("A100 80 GB", "A100", 2039, 312, 19.5, 9.7),
                    new Card("RTX 4090", "4090", 1008, 165, 82.6, 1.29));

    /// The one of that name.
    static Optional<Card> of(String device) {
        return ALL.stream().filter(c -> device.contains(c.key)).findFirst();
    }

    /// The least time of an operation.
    double microseconds(Workload.Entry e, double bytes) {
        double rate =
                switch (e.unit()) {
                    case TENSOR -> tensor;
                    case F32 -> f32;
                    case F64 -> f64;
                };
        return Math.max(bytes / bandwidth / 1e3, e.operations() / rate / 1e6);
    }

    boolean waitsForMemory(Workload.Entry e, double bytes) {
        return microseconds(e, bytes) <= bytes / bandwidth / 1e3;
    }
}
