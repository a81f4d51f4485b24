// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import io.llmc.evaluation.SizeReport;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.plan.DeviceSpec;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.OptionalLong;
import java.util.SequencedMap;
import java.util.Set;

/// How fast a model is.
///
/// @param directory of the model
/// @param machine where it ran, as it was measured then
/// @param original null where there is none; likewise in the parts
/// @param peak most bytes of the process that were resident, of both models together
public record LatencyResult(
        Path directory,
        LatencySpec spec,
        DeviceSpec machine,
        Measured model,
        Measured original,
        List<Prompt> prompts,
        List<Decoding> decodings,
        OptionalLong peak)
        implements Step.Outcome {
    /// @param working bytes of cache and passes
    public record Measured(SizeReport size, long working) {}

    /// A prompt, from its first token to the logits of its last.
    public record Prompt(int length, Timing model, Timing original, Speedup speedup) {}

    /// Steps of some sequences together, each with so many tokens cached.
    public record Decoding(int depth, int batch, Timing model, Timing original, Speedup speedup) {}

    /// Names of the figures that are numbers.
    static Set<String> names(boolean compared) {
        Set<String> names =
                new LinkedHashSet<>(
                        List.of(
                                "time_to_first_token",
                                "prefill_tokens_per_second",
                                "decode_tokens_per_second",
                                "memory_bandwidth",
                                "working_bytes",
                                "peak_resident_bytes"));
        if (compared) {
            for (String name : List.of("prefill_speedup", "decode_speedup")) {
                names.addAll(List.of(name, name + "_low", name + "_high"));
            }
        }
        return names;
    }

    /// The first of them: the one that people compare.
    @Override
    public SequencedMap<String, Object> figures() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("model", directory.toString());
        if (!prompts.isEmpty()) {
            Prompt p = prompts.getFirst();
            map.put("time_to_first_token", p.model.median());
            map.put("prefill_tokens_per_second", p.model.tokensPerSecond());
            put(map, "prefill_speedup", p.speedup);
        }
        if (!decodings.isEmpty()) {
            Decoding d = decodings.getFirst();
            map.put("decode_tokens_per_second", d.model.tokensPerSecond());
            put(map, "decode_speedup", d.speedup);
        }
        map.put("memory_bandwidth", machine.bandwidth());
        map.put("working_bytes", model.working);
        peak.ifPresent(bytes -> map.put("peak_resident_bytes", bytes));
        map.put("latency", all());
        return map;
    }

    private static void put(SequencedMap<String, Object> map, String name, Speedup speedup) {
        if (speedup != null) {
            map.put(name, speedup.ratio());
            map.put(name + "_low", speedup.low());
            map.put(name + "_high", speedup.high());
        }
    }

    private List<SequencedMap<String, Object>> all() {
        List<SequencedMap<String, Object>> list = new ArrayList<>();
        for (Prompt p : prompts) {
            SequencedMap<String, Object> map = new LinkedHashMap<>();
            map.put("test", "prefill");
            map.put("tokens", p.length);
            put(map, "", p.model);
            put(map, "original_", p.original);
            put(map, "speedup", p.speedup);
            list.add(map);
        }
        for (Decoding d : decodings) {
            SequencedMap<String, Object> map = new LinkedHashMap<>();
            map.put("test", "decode");
            map.put("depth", d.depth);
            map.put("batch", d.batch);
            put(map, "", d.model);
            put(map, "original_", d.original);
            put(map, "speedup", d.speedup);
            list.add(map);
        }
        return list;
    }

    private static void put(SequencedMap<String, Object> map, String prefix, Timing timing) {
        if (timing == null) {
            return;
        }
        map.put(prefix + "tokens_per_second", timing.tokensPerSecond());
        map.put(prefix + "tokens_per_second_low", timing.slowest());
        map.put(prefix + "tokens_per_second_high", timing.fastest());
        map.put(prefix + "seconds", timing.median());
        map.put(prefix + "roofline", timing.roofline());
        timing.joules().ifPresent(j -> map.put(prefix + "joules_per_token", j));
        if (timing.steps().length > 0) {
            map.put(prefix + "step_p50", timing.percentile(0.5));
            map.put(prefix + "step_p90", timing.percentile(0.9));
            map.put(prefix + "step_p99", timing.percentile(0.99));
        }
    }
}
