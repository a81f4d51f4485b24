// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.formats.RopeScaling;
import io.llmc.formats.UserException;
import io.llmc.model.BodySpec.InnerTensor;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.RowSpec;
import io.llmc.model.structure.Size;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;

/// A decoder model as data: what an architecture makes of a config.json.
///
/// @param inOutLinears linear weights are stored `[in, out]` (GPT-2's Conv1D)
/// @param maxPositions longest sequence
/// @param rows what goes from block to block
public record ModelSpec(
        String modelType,
        int hidden,
        int vocabulary,
        int maxPositions,
        Input input,
        List<LayerSpec> layers,
        Output output,
        boolean inOutLinears,
        RowSpec rows) {

    /// Rows of one stream.
    public ModelSpec(
            String modelType,
            int hidden,
            int vocabulary,
            int maxPositions,
            Input input,
            List<LayerSpec> layers,
            Output output,
            boolean inOutLinears) {
        this(
                modelType,
                hidden,
                vocabulary,
                maxPositions,
                input,
                layers,
                output,
                inOutLinears,
                RowSpec.PLAIN);
    }

    /// The same whose layers are stored `[in, out]`.
    public ModelSpec withInOutLinears() {
        return new ModelSpec(
                modelType, hidden, vocabulary, maxPositions, input, layers, output, true, rows);
    }

    public ModelSpec with(RowSpec other) {
        return new ModelSpec(
                modelType,
                hidden,
                vocabulary,
                maxPositions,
                input,
                layers,
                output,
                inOutLinears,
                other);
    }

    /// What tokens become: `norm(scale * project(embedding[id]) + positions[p + offset])`.
    ///
    /// @param embedding name of the token embedding, without `.weight`
    /// @param rows of it, of which the last ones may have no score in the output
    /// @param width of it; the stream's where nothing projects
    /// @param project name of a layer from that width to the stream's; null for none
    /// @param positions name of the learned positions; null for none
    /// @param offset of the row of position 0
    /// @param norm null for none
    public record Input(
            String embedding,
            int rows,
            int width,
            String project,
            float scale,
            String positions,
            int offset,
            NormSpec norm) {
        /// An embedding alone.
        public static Input of(String embedding, int rows, int hidden) {
            return new Input(embedding, rows, hidden, null, 1, null, 0, null);
        }

        public Input times(double factor) {
            return new Input(
                    embedding, rows, width, project, (float) factor, positions, offset, norm);
        }

        public Input withPositions(String name, int firstRow) {
            return new Input(embedding, rows, width, project, scale, name, firstRow, norm);
        }

        public Input with(NormSpec behind) {
            return new Input(embedding, rows, width, project, scale, positions, offset, behind);
        }

        public Input projected(String name, int from) {
            return new Input(embedding, rows, from, name, scale, positions, offset, norm);
        }

        public Input withRows(int count) {
            return new Input(embedding, count, width, project, scale, positions, offset, norm);
        }

        Input renamed(UnaryOperator<String> names) {
            return new Input(
                    names.apply(embedding),
                    rows,
                    width,
                    project == null ? null : names.apply(project),
                    scale,
                    positions == null ? null : names.apply(positions),
                    offset,
                    NormSpec.renamed(norm, names));
        }
    }

    /// What the stream becomes: `softcap(scale * head(project(norm(x))))`.
    ///
    /// @param norm null for none
    /// @param project name of a layer to the head's width; null for none
    /// @param head name of the output layer; the embedding's where tied
    /// @param biased whether the head has a bias
    /// @param softcap 0 for none
    public record Output(
            NormSpec norm,
            String project,
            String head,
            boolean biased,
            float scale,
            float softcap) {
        public static Output of(NormSpec norm, String head) {
            return new Output(norm, null, head, false, 1, 0);
        }

        public Output times(double factor) {
            return new Output(norm, project, head, biased, (float) factor, softcap);
        }

        public Output cappedAt(float cap) {
            return new Output(norm, project, head, biased, scale, cap);
        }

        public Output withBias() {
            return new Output(norm, project, head, true, scale, softcap);
        }

        public Output projected(String name) {
            return new Output(norm, name, head, biased, scale, softcap);
        }

        Output renamed(UnaryOperator<String> names) {
            return new Output(
                    NormSpec.renamed(norm, names),
                    project == null ? null : names.apply(project),
                    names.apply(head),
                    biased,
                    scale,
                    softcap);
        }
    }

    public ModelSpec {
        boolean fits =
                hidden > 0
                        && vocabulary > 0
                        && input.rows() >= vocabulary
                        && input.width() > 0
                        && maxPositions > 0
                        && !layers.isEmpty()
                        && Float.isFinite(input.scale())
                        && Float.isFinite(output.scale())
                        && output.softcap() >= 0;
        if (!fits) {
            throw new IllegalArgumentException("no model of these sizes: " + modelType);
        }
    }

    /// Columns of the rows between blocks.
    public int width() {
        return rows.width(hidden);
    }

    public String embedding() {
        return input.embedding();
    }

    /// Null for none.
    public String positionEmbedding() {
        return input.positions();
    }

    public float embeddingScale() {
        return input.scale();
    }

    /// Null for none.
    public NormSpec finalNorm() {
        return output.norm();
    }

    /// Name of the output layer; the embedding's where tied.
    public String head() {
        return output.head();
    }

    /// The same under other names.
    public ModelSpec renamed(UnaryOperator<String> names) {
        return new ModelSpec(
                modelType,
                hidden,
                vocabulary,
                maxPositions,
                input.renamed(names),
                layers.stream().map(layer -> layer.renamed(names)).toList(),
                output.renamed(names),
                inOutLinears,
                rows.renamed(names));
    }

    /// The same with another output layer.
    public ModelSpec withHead(String name) {
        Output with =
                new Output(
                        output.norm(),
                        output.project(),
                        name,
                        output.biased(),
                        output.scale(),
                        output.softcap());
        return new ModelSpec(
                modelType,
                hidden,
                vocabulary,
                maxPositions,
                input,
                layers,
                with,
                inOutLinears,
                rows);
    }

    /// The same with another name for a tied embedding.
    public ModelSpec withTiedEmbedding(String name) {
        String old = embedding();
        return renamed(n -> n.equals(old) ? name : n);
    }

    /// The output layer; the embedding's matrix where tied.
    public LinearSpec headLayer() {
        return new LinearSpec(
                head(), vocabulary, input.width(), output.biased(), List.of(Size.HIDDEN));
    }

    /// Layers before and behind the blocks.
    public List<LinearSpec> projections() {
        List<LinearSpec> all = new ArrayList<>();
        if (input.project() != null) {
            all.add(
                    new LinearSpec(
                            input.project(), hidden, input.width(), false, List.of(Size.HIDDEN)));
        }
        if (output.project() != null) {
            all.add(
                    new LinearSpec(
                            output.project(), input.width(), hidden, false, List.of(Size.HIDDEN)));
        }
        if (rows.inputs() != null) {
            all.add(
                    new LinearSpec(
                            rows.inputs().project(),
                            rows.inputs().all(),
                            hidden,
                            false,
                            List.of(Size.LAYERS, Size.HIDDEN)));
        }
        if (rows.ends() != null) {
            rows.ends().layers().stream()
                    .map(name -> new LinearSpec(name, hidden, hidden, false, List.of(Size.HIDDEN)))
                    .forEach(all::add);
        }
        return all;
    }

    /// Tensors before and behind the blocks that are no weights of layers or norms.
    public List<InnerTensor> outerTensors() {
        return rows.ends() instanceof RowSpec.Ends.Weighted weighted
                ? WeightedEnds.tensors(weighted, rows.streams() - 1, hidden)
                : List.of();
    }

    public boolean tied() {
        return head().equals(embedding());
    }

    /// What turns queries and keys, each once.
    public List<RopeSpec> ropes() {
        return layers.stream().flatMap(LayerSpec::ropes).distinct().toList();
    }

    /// Whether angles follow the length, so that sequences may be longer than the positions.
    public boolean stretches() {
        return positionEmbedding() == null
                && layers.stream()
                        .flatMap(LayerSpec::ropes)
                        .anyMatch(r -> r.config().scaling() instanceof RopeScaling.Dynamic);
    }

    /// Whether what stands behind a token changes what the model makes of it: by the length of the
    /// sequence alone.
    public boolean dependsOnLength() {
        return layers.stream().flatMap(LayerSpec::ropes).anyMatch(RopeSpec::dependsOnLength);
    }

    /// @param model as a sentence calls it
    /// @throws UserException where sequences are longer than the model's positions
    public void requirePositions(int length, Path model, String remedy) {
        if (length > maxPositions) {
            throw new UserException(
                    "windows of %,d tokens are longer than the %,d positions of %s"
                            .formatted(length, maxPositions, model),
                    remedy);
        }
    }
}
