// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.student;

import io.llmc.backend.Backend;
import io.llmc.distill.spec.Lora;
import io.llmc.distill.spec.Values;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.Transpose;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// What a student has learnt as its checkpoint would have it: in the types and the order of the
/// files, adapters taken up by the weights that they belong to.
///
/// @param student as it was
/// @param lora null where the weights themselves have learnt
/// @param turned weights that the checkpoint stores as `[in, out]`, scales as `[groups, out]`
public record WriteBack(
        Checkpoint student, Lora lora, Learnt learnt, Set<String> turned, Backend backend) {
    private static final String WEIGHT = ".weight";

    /// Where parameters are after they have learnt: in a model or in a file.
    public interface Learnt {
        boolean has(String name);

        /// F32 in host memory, `[out, in]` for a linear layer.
        Tensor tensor(String name, Arena memory);

        /// Of everything that has learnt, block after block.
        Stream<String> names();
    }

    public static WriteBack of(Checkpoint student, Lora lora, Learnt learnt, Backend backend) {
        ModelSpec spec = Architectures.specOf(student);
        List<String> linears =
                spec.layers().stream()
                        .flatMap(layer -> layer.linears(spec.hidden()).stream())
                        .map(LinearSpec::name)
                        .toList();
        Stream<String> weights =
                linears.stream().filter(_ -> spec.inOutLinears()).map(name -> name + WEIGHT);
        Stream<String> scales =
                linears.stream()
                        .flatMap(name -> Layouts.scales(student, name).stream())
                        .filter(WeightLayout.ScalesAt::turned)
                        .map(WeightLayout.ScalesAt::tensor);
        Set<String> turned = Stream.concat(weights, scales).collect(Collectors.toSet());
        return new WriteBack(student, lora, learnt, turned, backend);
    }

    /// The checkpoint with what is learnt at the time of each reading.
    public Checkpoint checkpoint() {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        student.names().forEach(name -> infos.put(name, student.info(name)));
        return student.derived(student.config(), infos, this::tensor);
    }

    private Tensor tensor(String name, TensorReader original, Arena memory) {
        String linear =
                name.endsWith(WEIGHT) ? name.substring(0, name.length() - WEIGHT.length()) : name;
        if (lora != null && lora.merges() && learnt.has(linear + Lora.DOWN)) {
            return merged(name, linear, original.tensor(name), memory);
        }
        return learnt.has(name)
                ? stored(name, learnt.tensor(name, memory), memory)
                : original.tensor(name);
    }

    /// The weight with what its adapter adds.
    private Tensor merged(String name, String linear, Tensor file, Arena memory) {
        Tensor w = turned.contains(name) ? Transpose.of(file, memory) : file;
        Tensor down = learnt.tensor(linear + Lora.DOWN, memory);
        Tensor up = learnt.tensor(linear + Lora.UP, memory);
        return stored(name, lora.merged(w, down, up, backend, memory), memory);
    }

    /// In the checkpoint's type and order.
    private Tensor stored(String name, Tensor values, Arena memory) {
        Tensor rounded = Values.convert(values, student.info(name).dtype(), memory);
        return turned.contains(name) ? Transpose.of(rounded, memory) : rounded;
    }

    /// The adapters' matrices: `LAYER.lora_A.weight` `[rank, in]` and `LAYER.lora_B.weight` `[out,
    /// rank]`.
    public SequencedMap<String, Tensor> adapters(Arena memory) {
        SequencedMap<String, Tensor> adapters = new LinkedHashMap<>();
        learnt.names()
                .filter(name -> name.endsWith(Lora.DOWN) || name.endsWith(Lora.UP))
                .forEach(name -> adapters.put(name, learnt.tensor(name, memory)));
        return adapters;
    }
}
