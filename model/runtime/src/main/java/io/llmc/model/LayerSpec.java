// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.RopeSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.model.structure.Size;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// One decoder block as data: sizes, names in the checkpoint, flags. Per layer, since pruning and
/// local attention make layers differ.
///
/// @param prefix what the names of its tensors begin with
/// @param branches in the order in which they are added to the residual stream
/// @param streams null where there is one
public record LayerSpec(String prefix, List<BranchSpec> branches, ManyStreamsSpec streams) {
    public LayerSpec(String prefix, List<BranchSpec> branches) {
        this(prefix, branches, null);
    }

    public LayerSpec {
        boolean fits =
                !branches.isEmpty()
                        && IntStream.range(0, branches.size())
                                .allMatch(i -> branches.get(i).back() <= i);
        if (!fits) {
            throw new IllegalArgumentException(
                    "a block begins with a branch that reads its input: " + prefix);
        }
    }

    /// Branches that follow each other.
    public static LayerSpec of(String prefix, BranchSpec... branches) {
        return new LayerSpec(prefix, List.of(branches));
    }

    /// The same whose branches stand between several streams, each with those beside it.
    public LayerSpec connectedBy(HyperConnectionsSpec connections) {
        List<BranchSpec> alone =
                branches.stream().map(b -> b.parallel() ? b : b.carrying(0)).toList();
        return new LayerSpec(prefix, alone, connections);
    }

    /// A linear layer as data.
    ///
    /// @param bias whether it has one, `[out]`
    /// @param sizes of config.json that its shape is made of, outputs first
    public record LinearSpec(String name, long out, long in, boolean bias, List<Size> sizes) {}

    /// The layers whose outputs are added to the residual stream as they are but for a factor, with
    /// that factor; a norm behind a body makes something else of them.
    public Map<String, Float> writers() {
        Map<String, Float> factors = new HashMap<>();
        for (BranchSpec branch : branches) {
            if (branch.post() == null
                    && branch.after() == null
                    && branch.scalar() == null
                    && branch.carry() == 1) {
                branch.body().streams().writers().forEach(w -> factors.put(w, branch.scale()));
            }
        }
        return factors;
    }

    public Stream<BodySpec> bodies() {
        return branches.stream().map(BranchSpec::body).flatMap(SumSpec::apart);
    }

    /// The body of a kind, where there is one.
    public <T extends BodySpec> Optional<T> body(Class<T> kind) {
        return bodies().filter(kind::isInstance).map(kind::cast).findFirst();
    }

    /// The linear layers that may be compressed, in the order in which they run.
    ///
    /// @param hidden width of the residual stream
    public List<LinearSpec> linears(int hidden) {
        return bodies().flatMap(body -> body.linears(hidden).stream()).toList();
    }

    /// Linear layers that are never compressed.
    public List<LinearSpec> routers(int hidden) {
        return bodies().flatMap(body -> body.routers(hidden).stream()).toList();
    }

    /// What pruning may take out.
    public List<PruneGroup> pruneGroups() {
        return bodies().flatMap(body -> body.pruneGroups().stream()).toList();
    }

    /// Parts that a size of config.json counts.
    public Optional<PruneGroup> pruneGroup(Size size) {
        return pruneGroups().stream().filter(g -> g.size() == size).findFirst();
    }

    /// Why parts that a size counts cannot be taken out.
    public String fixed(Size size) {
        return bodies().flatMap(body -> body.fixed(size).stream())
                .findFirst()
                .orElse("it has none");
    }

    /// How many parts a size counts; 0 where there are none.
    public int count(Size size) {
        return pruneGroup(size).map(PruneGroup::count).orElse(0);
    }

    /// What may be scaled, each source once with all of its readers.
    public List<ScaleGroup> scaleGroups() {
        SequencedMap<ScaleGroup.Source, ScaleGroup> all = new LinkedHashMap<>();
        for (BranchSpec branch : branches) {
            for (ScaleGroup g : branch.scaleGroups()) {
                all.merge(
                        g.source(),
                        g,
                        (a, b) ->
                                new ScaleGroup(
                                        a.source(),
                                        Stream.concat(a.readers().stream(), b.readers().stream())
                                                .toList()));
            }
        }
        for (BranchSpec branch : branches) {
            if (branch.pre() != null && branch.body().passesInput()) {
                all.remove(new ScaleGroup.Weights(branch.pre()));
            }
        }
        return List.copyOf(all.sequencedValues());
    }

    /// Most channels a token that stages hand on beside the residual stream.
    public long kept(int hidden) {
        return IntStream.range(0, branches.size())
                .mapToLong(i -> branches.get(i).body().kept() + (long) saved(i).size() * hidden)
                .max()
                .orElse(0);
    }

    /// The branch that first reads what a branch reads.
    int source(int branch) {
        int back = branches.get(branch).back();
        return back == 0 ? branch : source(branch - back);
    }

    /// Branches before this one whose input it or a later one reads again: that goes along until
    /// then.
    List<Integer> saved(int branch) {
        return IntStream.range(branch, branches.size())
                .map(this::source)
                .filter(source -> source < branch)
                .distinct()
                .sorted()
                .boxed()
                .toList();
    }

    /// Keys that a position sees; 0 for all.
    public int window() {
        return bodies().mapToInt(BodySpec::window).max().orElse(0);
    }

    Stream<RopeSpec> ropes() {
        return bodies().flatMap(body -> body.ropes().stream());
    }

    LayerSpec renamed(UnaryOperator<String> names) {
        return renamed(names.apply(prefix), names);
    }

    private LayerSpec renamed(String other, UnaryOperator<String> names) {
        return new LayerSpec(
                other,
                branches.stream().map(b -> b.renamed(names)).toList(),
                streams == null ? null : streams.renamed(names));
    }

    /// The same layer under another prefix.
    public LayerSpec at(String other) {
        return renamed(
                other,
                name -> name.startsWith(prefix) ? other + name.substring(prefix.length()) : name);
    }
}
