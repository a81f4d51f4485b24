// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.student;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.llmc.distill.spec.Lora;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.safetensors.TensorFile;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Collectors;

/// Adapters as peft reads them: `adapter_config.json` and `adapter_model.safetensors`, with the
/// names of transformers' modules.
///
/// @param base the student's directory as the user gave it
public record PeftAdapter(Checkpoint student, Lora lora, Path base) {
    private static final ObjectMapper JSON =
            new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);

    /// @throws UserException where peft could not put an adapter where one is asked for
    public void requireLoadable() {
        ModelSpec spec = Architectures.specOf(student);
        lora.layers(spec)
                .map(LinearSpec::name)
                .filter(name -> architecture().module(name).isEmpty())
                .findFirst()
                .ifPresent(name -> {
                    throw new UserException(
                            "peft cannot load an adapter of %s, because transformers keeps the experts of a block in one tensor"
                                    .formatted(name),
                            "pass {loraTargets} '*self_attn*', or leave {adapter} out to merge them");
                });
    }

    private Architecture architecture() {
        return Architectures.of(student.config());
    }

    private String module(String linear) {
        return architecture().module(linear).orElseThrow();
    }

    /// Writes both files, and reads the tensors back.
    ///
    /// @param adapters host tensors by the student's names, as [WriteBack#adapters] gives them
    public void write(SequencedMap<String, Tensor> adapters, Path directory) {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        adapters.forEach((name, values) -> {
            String suffix = name.endsWith(Lora.DOWN) ? Lora.DOWN : Lora.UP;
            String linear = name.substring(0, name.length() - suffix.length());
            tensors.put("base_model.model." + module(linear) + suffix, values);
        });
        try {
            TensorFile.publish(directory.resolve("adapter_model.safetensors"), tensors);
            Files.writeString(
                    directory.resolve("adapter_config.json"),
                    JSON.writeValueAsString(config()) + "\n");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private SequencedMap<String, Object> config() {
        SequencedMap<String, Object> config = new LinkedHashMap<>();
        config.put("peft_type", "LORA");
        config.put("task_type", "CAUSAL_LM");
        config.put("base_model_name_or_path", base.toString());
        config.put("r", lora.rank());
        boolean whole = lora.alpha() == Math.rint(lora.alpha());
        config.put("lora_alpha", whole ? (Object) (long) lora.alpha() : (Object) lora.alpha());
        config.put("target_modules", targets());
        config.put("lora_dropout", 0.0);
        config.put("bias", "none");
        config.put("fan_in_fan_out", Architectures.specOf(student).inOutLinears());
        config.put("inference_mode", true);
        return config;
    }

    /// Last parts of names, as is usual, where they mean just these layers; else whole names. peft
    /// takes both: a module matches that is called so, or whose name ends with a dot and this.
    private List<String> targets() {
        ModelSpec spec = Architectures.specOf(student);
        Set<String> adapted = lora.layers(spec).map(LinearSpec::name).collect(Collectors.toSet());
        List<String> last = adapted.stream().map(PeftAdapter::last).distinct().sorted().toList();
        boolean exact =
                spec.layers().stream()
                        .flatMap(layer -> layer.linears(spec.hidden()).stream())
                        .map(LinearSpec::name)
                        .allMatch(n -> adapted.contains(n) == last.contains(last(n)));
        return exact ? last : adapted.stream().map(this::module).sorted().toList();
    }

    private static String last(String name) {
        return name.substring(name.lastIndexOf('.') + 1);
    }
}
