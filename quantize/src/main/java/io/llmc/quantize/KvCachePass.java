// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Backend;
import io.llmc.backend.Desk;
import io.llmc.model.Stage;
import io.llmc.model.structure.CacheSpec;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.CacheInput;
import io.llmc.pipeline.pass.Observer;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.SumTree;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Codes;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// Scales with which keys and values are cached in 8-bit floats: the largest magnitude that
/// calibration saw becomes the largest number, as `kv_cache_scheme` of compressed-tensors has it.
/// It stands behind the passes that round weights, so that it sees what the rounded model caches.
///
/// @param scales one for a whole layer, or one for each head
public record KvCachePass(Scales scales) implements BlockPass {
    private static final Option<Type> TYPE =
            Option.choice(
                            "type",
                            Type.class,
                            Type.FP8,
                            "Find scales for keys and values that are cached as fp8.")
                    .flagged("--kv-cache");

    private static final Option<Scales> SCALES =
            Option.choice(
                            "scales",
                            Scales.class,
                            Scales.TENSOR,
                            "One scale for a layer's keys and one for its values (tensor), or one"
                                    + " for each head (head) (default: %s).")
                    .flagged("--kv-cache-scales");

    static final PassFactory FACTORY =
            new PassFactory(
                            "kv-cache",
                            "scales for a KV cache of 8-bit floats",
                            """
                            model: testdata/tale-llama
                            output: out
                            calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                            steps:
                              - sweep:
                                  - rtn: {bits: 4, groupSize: 64}
                                  - kv-cache: {type: fp8, scales: tensor}
                            """,
                            List.of(TYPE, SCALES),
                            KvCachePass::read)
                    .joining(PassFactory.Beside.BEHIND);

    private static KvCachePass read(Options o) {
        TYPE.read(o);
        return new KvCachePass(SCALES.read(o));
    }

    /// What keys and values become.
    enum Type {
        /// F8_E4M3
        FP8
    }

    /// What shares a scale.
    enum Scales {
        TENSOR,
        HEAD
    }

    @Override
    public String name() {
        return "kv-cache";
    }

    @Override
    public boolean calibrates() {
        return true;
    }

    @Override
    public Targets targets() {
        return Targets.NONE;
    }

    @Override
    public Optional<CacheScheme> cache() {
        return Optional.of(new CacheScheme(Codes.Floats.E4M3, scales == Scales.HEAD));
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("scales", Options.spelling(scales));
        return values;
    }

    @Override
    public long workBytes(long out, long in) {
        return 0;
    }

    @Override
    public void apply(BlockScope scope) {
        for (int i = 0; i < scope.stages().size(); i++) {
            Stage stage = scope.stages().get(i);
            stage.cache().ifPresent(cache -> calibrate(scope, stage, cache.spec()));
            scope.advance(scope.stages().get(i)); // others than before, where it was calibrated
        }
    }

    private void calibrate(BlockScope scope, Stage stage, CacheSpec cache) {
        long start = System.nanoTime();
        float[] keys;
        float[] values;
        try (SumTree<CacheInput, Maxima> seen =
                scope.observeCache(stage, new MaximaObserver(scope.backend(), cache))) {
            keys = seen.total().keys();
            values = seen.total().values();
        }
        float[] keyScales = scales(keys, cache);
        float[] valueScales = scales(values, cache);
        scope.roundCache(cache, keyScales, valueScales);
        SequencedMap<String, Object> found = new LinkedHashMap<>();
        found.put("method", name());
        found.put("k_scale", largest(keyScales));
        found.put("v_scale", largest(valueScales));
        double seconds = (System.nanoTime() - start) / 1e9;
        scope.report(new ModuleReport(cache.attention(), found, seconds, List.of()));
    }

    /// `amax / 448` of all channels or of those of each head; of zeros it is 1 / 448.
    private float[] scales(float[] maxima, CacheSpec cache) {
        int parts = scales == Scales.TENSOR ? 1 : cache.heads();
        int width = maxima.length / parts;
        float[] result = new float[parts];
        for (int p = 0; p < parts; p++) {
            float most = largest(Arrays.copyOfRange(maxima, p * width, (p + 1) * width));
            result[p] = (most == 0 ? 1 : most) / Codes.Floats.E4M3.reach();
        }
        return result;
    }

    private static float largest(float[] values) {
        float most = 0;
        for (float v : values) {
            most = Math.max(most, v);
        }
        return most;
    }

    /// Largest magnitudes of each channel, `[heads * width]`, and `[heads * valueWidth]`.
    private record Maxima(float[] keys, float[] values) {}

    private record MaximaObserver(Backend backend, CacheSpec cache)
            implements Observer<CacheInput, Maxima> {
        @Override
        public Maxima empty(Desk d) {
            return new Maxima(
                    new float[cache.heads() * cache.width()],
                    new float[cache.heads() * cache.valueWidth()]);
        }

        @Override
        public Maxima see(Maxima s, CacheInput x) {
            take(s.keys(), backend.floats(x.keys()));
            take(s.values(), backend.floats(x.values()));
            return s;
        }

        @Override
        public Maxima merge(Maxima a, Maxima b) {
            take(a.keys(), b.keys());
            take(a.values(), b.values());
            return a;
        }

        /// @param x rows of channels
        private static void take(float[] most, float[] x) {
            for (int i = 0; i < x.length; i++) {
                most[i % most.length] = Math.max(most[i % most.length], Math.abs(x[i]));
            }
        }
    }
}
