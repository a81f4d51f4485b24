// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.formats.GridSpec;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.rotation.Untied;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/// Rounds what surrounds the blocks, to nearest: the output layer, and the token embedding. Where
/// the two are one matrix they become two, since readers load the one and look up rows of the
/// other.
///
/// @param head bits of the output layer; null leaves it as it is
/// @param embeddings bits of the token embedding; null leaves it as it is
/// @param groupSize weights of a row that share a scale; null for [#groups]
public record OuterPass(Integer head, Integer embeddings, Integer groupSize) implements ModelPass {
    private static final Option<Integer> HEAD =
            Option.integer("head", null, "Round the output layer, too: bits a weight, 2 to 8.")
                    .within("2 to 8", b -> b >= 2 && b <= 8);

    private static final Option<Integer> EMBEDDINGS =
            Option.integer(
                            "embeddings",
                            null,
                            "Round the token embedding, too: bits a weight, 2 to 8.")
                    .within("2 to 8", b -> b >= 2 && b <= 8);

    private static final Option<Integer> GROUP_SIZE =
            Option.integer(
                            "groupSize",
                            null,
                            "Weights of a row that share a scale (default: the whole row for 8"
                                    + " bits, else the largest of 128, 64 and 32 that divides it).")
                    .withoutFlag()
                    .within("at least 1", n -> n >= 1);

    static final PassFactory FACTORY =
            new PassFactory(
                            "outer",
                            "the output layer and the token embedding in fewer bits",
                            """
                            model: testdata/tale-llama
                            output: out
                            steps:
                              - sweep:
                                  - outer: {head: 8, embeddings: 8}
                                  - rtn: {bits: 4, groupSize: 64}
                            save: {layout: compressed-tensors}
                            """,
                            List.of(HEAD, EMBEDDINGS, GROUP_SIZE),
                            OuterPass::read)
                    .joining(PassFactory.Beside.BEFORE);

    private static OuterPass read(Options o) {
        OuterPass pass = new OuterPass(HEAD.read(o), EMBEDDINGS.read(o), GROUP_SIZE.read(o));
        if (pass.head == null && pass.embeddings == null) {
            throw o.error("head", "outer needs head, embeddings or both");
        }
        return pass;
    }

    @Override
    public String name() {
        return "outer";
    }

    @Override
    public boolean calibrates() {
        return false;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        if (head != null) {
            values.put("head", head);
        }
        if (embeddings != null) {
            values.put("embeddings", embeddings);
        }
        return values;
    }

    @Override
    public SequencedMap<String, Scheme> outer(ModelSpec spec) {
        SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
        if (embeddings != null) {
            schemes.put(spec.embedding(), scheme(embeddings, spec));
        }
        if (head != null) {
            schemes.put(spec.head(), scheme(head, spec));
        }
        return schemes;
    }

    private Scheme scheme(int bits, ModelSpec spec) {
        int size = groupSize == null ? groups(bits, spec.hidden()) : groupSize;
        return Scheme.of(Encoding.ints(bits, size, true));
    }

    private static int groups(int bits, int hidden) {
        for (int size : new int[] {128, 64, 32}) {
            if (bits < 8 && hidden % size == 0) {
                return size;
            }
        }
        return Tiles.ALL;
    }

    @Override
    public Optional<String> note(Checkpoint source) {
        return Untied.note(source);
    }

    @Override
    public Checkpoint outline(Checkpoint source) {
        return Untied.of(source);
    }

    @Override
    public long workBytes(ModelSpec spec, int windows, int length) {
        return 0;
    }

    @Override
    public Checkpoint view(ModelScope scope) {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", name());
        values.putAll(describe());
        scope.report(new ModuleReport("model", values, 0, List.of()));
        return Untied.of(scope.model().checkpoint());
    }

    @Override
    public Weight round(Desk d, Weight w, GridSpec<Codes.Ints> grid) {
        WeightGrid target = WeightGrid.allocate(d, grid, w, null);
        return RtnMath.quantize(d, w, target, null, CompressionOp.GridSearch.DEFAULT, false)
                .weight();
    }

    @Override
    public long roundBytes(long out, long in) {
        return RtnMath.scratchBytes(out, in);
    }
}
