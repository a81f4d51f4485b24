// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.Architecture;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import java.util.Comparator;
import java.util.List;
import java.util.Set;

/// Every architecture that llmc knows.
public final class Architectures {
    public static final List<Architecture> ALL =
            List.of(
                    new Afmoe(),
                    new Apertus(),
                    new Bloom(),
                    new Cohere(),
                    new Cohere2Moe(),
                    new DeepSeek(),
                    new DeepSeekV4(),
                    new Ernie45(),
                    new Ernie45Moe(),
                    new Falcon(),
                    new FalconH1(),
                    new Gemma(),
                    new Gemma2(),
                    new Gemma3(),
                    new Gemma3n(),
                    new Gemma4(),
                    new Glm(),
                    new Glm4Moe(),
                    new Glm5Next(),
                    new GlmMoeDsa(),
                    new Gpt2(),
                    new GptBigCode(),
                    new GptJ(),
                    new GptNeoX(),
                    new GptOss(),
                    new Granite(),
                    new GraniteHybrid(),
                    new GraniteMoe(),
                    new Jamba(),
                    new KimiLinear(),
                    new Lfm2(),
                    new Lfm2Moe(),
                    new Llama(),
                    new Llama4(),
                    new LongcatFlash(),
                    new Mamba1(),
                    new Mamba2(),
                    new MiMoV2(),
                    new MiniMaxM2(),
                    new MiniMaxM3(),
                    new Ministral3(),
                    new Mixtral(),
                    new Mllama(),
                    new Mpt(),
                    new MuseGlimmer(),
                    new Nemotron(),
                    new NemotronH(),
                    new Olmo(),
                    new Olmo2(),
                    new Olmoe(),
                    new Opt(),
                    new Phi(),
                    new Phi3(),
                    new PhiMoe(),
                    new Qwen2(),
                    new Qwen2Moe(),
                    new Qwen3(),
                    new Qwen3Moe(),
                    new QwenNext(),
                    new SeedOss(),
                    new SmolLm3());

    /// Layers and experts of a config alone, which no tensors bear out.
    private static final Range PARTS = Range.upTo(1 << 17);

    private Architectures() {}

    /// The model in a checkpoint.
    ///
    /// @throws UserException where no architecture claims its `model_type`
    /// @throws FormatException where it has no tensors
    public static ModelSpec specOf(Checkpoint checkpoint) {
        if (checkpoint.names().isEmpty()) {
            throw new FormatException(checkpoint.directory(), "has no tensors");
        }
        return specOf(checkpoint.config(), checkpoint.names());
    }

    /// The model that a config describes, under the names that transformers saves it with.
    ///
    /// @throws FormatException where it has more layers and experts than any model that there is
    public static ModelSpec specOf(HfConfig config) {
        Architecture family = of(config);
        long parts = 1;
        for (Size size : List.of(Size.LAYERS, Size.EXPERTS)) {
            String key = family.key(size);
            parts *= config.text().has(key) ? config.text().integer(key, PARTS) : 1;
            if (parts > PARTS.most()) {
                throw config.text()
                        .wrong(
                                key,
                                "at most %,d layers and experts".formatted((long) PARTS.most()));
            }
        }
        return spec(family, config, Set.of());
    }

    /// As [#specOf(Checkpoint)], from the parts.
    public static ModelSpec specOf(HfConfig config, Set<String> tensors) {
        Architecture family = of(config);
        Naming naming = naming(config, tensors);
        Set<String> known = naming.known(tensors);
        ModelSpec spec = spec(family, config, known);
        boolean embedded = known.contains(spec.embedding() + ".weight");
        boolean headed = known.contains(family.head() + ".weight");
        if (spec.tied() && !embedded && headed) {
            // Some writers keep a tied matrix under the head's name alone.
            spec = spec.withTiedEmbedding(family.head());
        } else if (!spec.tied()
                && embedded
                && known.stream().noneMatch(name -> name.startsWith(family.head() + "."))
                && config.multimodal()
                && !config.text().mentions("tie_word_embeddings")) {
            spec = spec.withHead(spec.embedding());
        }
        return naming.changesNothing() ? spec : spec.renamed(naming::stored);
    }

    private static ModelSpec spec(Architecture family, HfConfig config, Set<String> tensors) {
        Assumed.require(config.text());
        return family.spec(config, tensors);
    }

    /// What the tensors of a checkpoint are called.
    static Naming naming(HfConfig config, Set<String> tensors) {
        Architecture family = of(config);
        return Naming.of(family.embedding(), family.head(), tensors);
    }

    /// The family of a config.
    ///
    /// @throws UserException where none claims its `model_type`
    public static Architecture of(HfConfig config) {
        String type = config.text().modelType();
        for (Architecture a : ALL) {
            if (a.modelTypes().contains(type)) {
                return config.multimodal() ? new PartOfModel(a) : a;
            }
        }
        throw new UserException(
                "model_type \"%s\" is not known to llmc%s".formatted(type, kin(type)),
                "llmc architectures lists all that are; {treatAs} names the one that this is in all"
                        + " but name");
    }

    /// Every `model_type` that llmc reads, sorted.
    public static List<String> modelTypes() {
        return ALL.stream().flatMap(a -> a.modelTypes().stream()).sorted().toList();
    }

    /// As "; by its name its next of kin is qwen3"; empty where no name begins alike.
    static String kin(String type) {
        return modelTypes().stream()
                .max(Comparator.comparingInt(known -> alike(known, type)))
                .filter(known -> alike(known, type) >= 3)
                .map("; by its name its next of kin is %s"::formatted)
                .orElse("");
    }

    /// Letters at the beginning that are the same.
    private static int alike(String a, String b) {
        int n = 0;
        while (n < Math.min(a.length(), b.length()) && a.charAt(n) == b.charAt(n)) {
            n++;
        }
        return n;
    }
}
