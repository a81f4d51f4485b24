// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.util.RawValue;
import java.util.List;
import java.util.SplittableRandom;

/// Values that break readers.
final class Poison {
    private static final List<String> LITERALS =
            List.of(
                    "0",
                    "-0",
                    "-1",
                    "1",
                    "2",
                    "3",
                    "7",
                    "64",
                    "0.5",
                    "1e-320",
                    "1e3",
                    "1e99",
                    "1e400",
                    "-1e400",
                    "NaN",
                    "Infinity",
                    "-Infinity",
                    "65536",
                    "2147483647",
                    "2147483648",
                    "4294967296",
                    "-2147483649",
                    "9007199254740993",
                    "9223372036854775807",
                    "9223372036854775808",
                    "-9223372036854775809",
                    "99999999999999999999999999",
                    "1.0000000000000000000000000000001",
                    "null",
                    "true",
                    "false",
                    "[]",
                    "{}",
                    "\"\"",
                    "\"0\"",
                    "\"-1\"",
                    "\"10000\"",
                    "\"NaN\"",
                    "\"none\"",
                    "\"null\"",
                    "\"true\"",
                    "\"\\ud800\"",
                    "\"a\\u0000b\"",
                    "\"\\n\"",
                    "\"../../etc/passwd\"",
                    "\"/\"",
                    "\".\"",
                    "\"*\"",
                    "\"re:(a+)+$\"",
                    "\"re:[\"",
                    "\"${x}\"",
                    "[null]",
                    "[[]]",
                    "[{}]",
                    "[0]",
                    "[1,2]",
                    "[-1]",
                    "[1e99]",
                    "[\"a\"]",
                    "{\"\":0}",
                    "{\"a\":null}",
                    "{\"a\":{\"b\":[]}}");

    private Poison() {}

    static String literal(SplittableRandom random) {
        return switch (random.nextInt(40)) {
            case 0 -> "[".repeat(40) + "]".repeat(40);
            case 1 -> "{\"a\":".repeat(40) + "0" + "}".repeat(40);
            case 2 -> "[" + "0,".repeat(2000) + "0]";
            case 3 -> "\"" + "a".repeat(5000) + "\"";
            case 4 -> Long.toString(random.nextLong());
            case 5 -> Integer.toString(random.nextInt(-4, 200));
            case 6 -> Double.toString(random.nextDouble(-2, 2));
            default -> LITERALS.get(random.nextInt(LITERALS.size()));
        };
    }

    static JsonNode node(SplittableRandom random) {
        return JsonNodeFactory.instance.rawValueNode(new RawValue(literal(random)));
    }

    /// Words that readers of models know.
    static String word(SplittableRandom random) {
        List<String> words =
                List.of(
                        "bits",
                        "factor",
                        "type",
                        "rope_type",
                        "llama3",
                        "yarn",
                        "linear",
                        "dynamic",
                        "longrope",
                        "gelu",
                        "silu",
                        "bfloat16",
                        "gptq",
                        "awq",
                        "fp8",
                        "int",
                        "float",
                        "pack-quantized",
                        "group",
                        "channel",
                        "tensor",
                        "Linear",
                        "lm_head",
                        "F32",
                        "I8",
                        "BF16",
                        "U8",
                        "__metadata__",
                        "format",
                        "pt",
                        "default",
                        "eager",
                        "full_attention",
                        "sliding_attention",
                        "text",
                        "messages",
                        "role",
                        "content",
                        "true",
                        "",
                        " ",
                        "\u00e9",
                        "\ud83d\ude00",
                        "\u202e");
        return words.get(random.nextInt(words.size()));
    }
}
