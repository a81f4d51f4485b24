// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Op;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.MixGroup;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.PageSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import io.llmc.model.structure.StateSpec;
import io.llmc.model.structure.Streams;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;

/// What a branch of a block computes between its norms, as data. A body answers whatever a pass
/// asks of it, so that nobody else tells the kinds apart.
public sealed interface BodySpec
        permits SelfAttentionSpec,
                LatentAttentionSpec,
                CompressedAttentionSpec,
                ShortConvolutionSpec,
                DeltaNetSpec,
                BorrowingAttentionSpec,
                LayerInputSpec,
                LaurelSpec,
                SumSpec,
                MambaSpec,
                SelectiveScanSpec,
                MlpSpec,
                ExpertsSpec {
    /// The linear layers that may be compressed, in the order in which they run.
    ///
    /// @param hidden width of the residual stream
    List<LinearSpec> linears(int hidden);

    /// Whether single layers see only the tokens that were sent to them.
    default boolean routed() {
        return false;
    }

    /// Linear layers that choose what is computed; they are never compressed.
    default List<LinearSpec> routers(int hidden) {
        return List.of();
    }

    /// Norms within the body.
    default List<InnerNorm> innerNorms() {
        return List.of();
    }

    /// @param parts of the weights, each with its channels: `[parts, channels]`; one: `[channels]`
    /// @param size of config.json that gives the channels
    record InnerNorm(NormSpec norm, int parts, int channels, Size size) {
        long[] dims() {
            return parts == 1 ? new long[] {channels} : new long[] {parts, channels};
        }
    }

    /// Tensors that are neither weights of layers nor of norms.
    default List<InnerTensor> innerTensors() {
        return List.of();
    }

    /// @param sizes of config.json that its shape is made of
    /// @param type of whole numbers; null for any of floats
    record InnerTensor(String name, Shape shape, List<Size> sizes, DType type) {
        public InnerTensor(String name, Shape shape, List<Size> sizes) {
            this(name, shape, sizes, null);
        }
    }

    /// What pruning may take out.
    default List<PruneGroup> pruneGroups() {
        return List.of();
    }

    /// Why parts that a size counts cannot be taken out of it; empty where they can, or where it
    /// has none.
    default Optional<String> fixed(Size size) {
        return Optional.empty();
    }

    /// What may be scaled within the body.
    default List<ScaleGroup> scaleGroups() {
        return List.of();
    }

    /// What may be mixed within the body.
    default List<MixGroup> mixGroups() {
        return List.of();
    }

    Streams streams();

    /// Whether what it reads reaches the stream by another way than its linear layers, so that no
    /// factor can move from the norm before it into them.
    default boolean passesInput() {
        return false;
    }

    /// Layers that inference engines load as one and that must therefore be encoded alike.
    default List<Joint> joints() {
        return List.of();
    }

    /// @param called what people call them; empty for the layers' own names
    record Joint(List<String> linears, Optional<String> called) {}

    /// Most channels a token that the body's parts hand to each other.
    long kept();

    /// How queries and keys turn; empty where nothing does.
    default List<RopeSpec> ropes() {
        return List.of();
    }

    /// Keys that a position sees; 0 for all, or where there are none.
    default int window() {
        return 0;
    }

    /// The keys and values that it would keep of every token; empty where it keeps none.
    default Optional<CacheSpec> cache() {
        return Optional.empty();
    }

    /// What it would keep of every token in pages, keys and values among it.
    default List<PageSpec> pages() {
        return cache().map(c -> List.of(c.keys(true), c.values())).orElse(List.of());
    }

    /// Tokens whose pages it would look back to, the newest among them; 0 for all.
    default int window(PageSpec pages) {
        return window();
    }

    /// What it would keep of a sequence whatever its length; empty where it keeps nothing so.
    default List<StateSpec> states() {
        return List.of();
    }

    /// Operations that not every device has, or that no gradient goes through.
    default List<Class<? extends Op>> special() {
        return List.of();
    }

    /// Channels of queries and keys of a token, which scores are made of.
    default long scored() {
        return 0;
    }

    /// Names of the layers that make queries and keys: their outputs are compared, not added up.
    default List<String> scoring() {
        return List.of();
    }

    /// What people call this part of a block.
    String role();

    /// The sizes in a few words.
    String summary();

    /// The same with other names of layers and norms.
    BodySpec renamed(UnaryOperator<String> names);

    /// The body with its weights.
    Body build(BlockBuilder from, int hidden);
}
