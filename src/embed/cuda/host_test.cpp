// Every kernel of kernels.cu against plain loops in double precision. scripts/kernels --host-test builds and runs it,
// with the address and the thread sanitizer. Buffers are exactly as large as they must be: a step outside is seen.

#define LEINDEX_ON_HOST
#include "kernels.cu"

#include <cstdio>
#include <numeric>
#include <random>
#include <string>

namespace {

std::mt19937 random_bits(7);
int failures = 0;

std::vector<half> random_halves(size_t count, float spread = 1.0f) {
    std::normal_distribution<float> normal(0.0f, spread);
    std::vector<half> values(count);
    for (half& value : values) value = static_cast<half>(normal(random_bits));
    return values;
}

std::vector<float> random_floats(size_t count, float middle) {
    std::normal_distribution<float> normal(middle, 0.3f);
    std::vector<float> values(count);
    for (float& value : values) value = normal(random_bits);
    return values;
}

// Half precision has steps of 2^-11 of a number: `steps` of them, with 1 as the smallest measure.
template <typename Number>
void compare(const std::string& what, const std::vector<Number>& is, const std::vector<double>& should, double steps) {
    double worst = is.size() == should.size() ? 0.0 : INFINITY;
    for (size_t i = 0; i < std::min(is.size(), should.size()); i++) {
        const double off = std::fabs(static_cast<double>(is[i]) - should[i]) / std::max(1.0, std::fabs(should[i]));
        // NaN is not below anything.
        if (!(off <= worst)) worst = off == off ? off : INFINITY;
    }
    const bool is_good = worst <= steps / 2048.0;
    std::printf("%-44s off by %.5f of %.5f  %s\n", what.c_str(), worst, steps / 2048.0, is_good ? "ok" : "WRONG");
    if (!is_good) failures++;
}

std::vector<unsigned> starts_of(const std::vector<unsigned>& lengths) {
    std::vector<unsigned> starts(lengths.size() + 1, 0);
    std::partial_sum(lengths.begin(), lengths.end(), starts.begin() + 1);
    return starts;
}

std::vector<double> normal_row(const std::vector<double>& x, const float* scale, const float* shift, double epsilon) {
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
    double variance = 0.0;
    for (double value : x) variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
    std::vector<double> out(x.size());
    for (size_t i = 0; i < x.size(); i++) out[i] = (x[i] - mean) / std::sqrt(variance + epsilon) * scale[i] + shift[i];
    return out;
}

unsigned blocks(unsigned count, unsigned a_block) { return (count + a_block - 1) / a_block; }

void embed_norm_is_right(unsigned tokens, unsigned hidden) {
    const unsigned vocabulary = 11, places_count = 7;
    const auto words = random_halves(vocabulary * hidden), places = random_halves(places_count * hidden);
    const auto scale = random_floats(hidden, 1.0f), shift = random_floats(hidden, 0.0f);
    std::vector<unsigned> ids(tokens), positions(tokens);
    for (unsigned i = 0; i < tokens; i++) ids[i] = (i * 5 + 10) % vocabulary, positions[i] = (i + 6) % places_count;
    std::vector<half> out(tokens * hidden);
    host::run({blocks(tokens, WARPS)}, THREADS, [&] {
        embed_norm(out.data(), ids.data(), positions.data(), words.data(), places.data(), scale.data(), shift.data(),
                   tokens, hidden, 1e-12f);
    });
    std::vector<double> should;
    for (unsigned token = 0; token < tokens; token++) {
        std::vector<double> x(hidden);
        for (unsigned i = 0; i < hidden; i++) {
            x[i] = static_cast<double>(words[ids[token] * hidden + i]);
            x[i] += static_cast<double>(places[positions[token] * hidden + i]);
        }
        const auto row = normal_row(x, scale.data(), shift.data(), 1e-12);
        should.insert(should.end(), row.begin(), row.end());
    }
    compare("embed_norm " + std::to_string(tokens) + " x " + std::to_string(hidden), out, should, 1.5);
}

void add_norm_is_right(unsigned tokens, unsigned hidden, float middle) {
    auto state = random_halves(tokens * hidden);
    for (half& value : state) value += static_cast<half>(middle);
    const auto before = state, added = random_halves(tokens * hidden, 3.0f);
    const auto scale = random_floats(hidden, 1.0f), shift = random_floats(hidden, 0.0f);
    host::run({blocks(tokens, WARPS)}, THREADS, [&] {
        add_norm(state.data(), added.data(), scale.data(), shift.data(), tokens, hidden, 1e-5f);
    });
    std::vector<double> should;
    for (unsigned token = 0; token < tokens; token++) {
        std::vector<double> x(hidden);
        for (unsigned i = 0; i < hidden; i++) {
            x[i] = static_cast<double>(before[token * hidden + i]) + static_cast<double>(added[token * hidden + i]);
        }
        const auto row = normal_row(x, scale.data(), shift.data(), 1e-5);
        should.insert(should.end(), row.begin(), row.end());
    }
    compare("add_norm " + std::to_string(tokens) + " x " + std::to_string(hidden), state, should, 1.5);
}

// Texts of these lengths, `heads` heads of `dims` numbers; queries and keys `spread` times as large sharpen the
// softmax.
void attention_is_right(const std::vector<unsigned>& lengths, unsigned heads, unsigned dims, float spread) {
    const auto starts = starts_of(lengths);
    const unsigned hidden = heads * dims, tokens = starts.back();
    auto qkv = random_halves(tokens * 3 * hidden);
    for (size_t i = 0; i < qkv.size(); i++) {
        if (i % (3 * hidden) < 2 * hidden) qkv[i] *= static_cast<half>(spread);
    }
    const double scale = 1.0 / std::sqrt(static_cast<double>(dims));
    const float scale_log2 = static_cast<float>(scale * 1.4426950408889634);
    std::vector<half> context(tokens * hidden, static_cast<half>(77.0f));
    const unsigned longest = *std::max_element(lengths.begin(), lengths.end());
    host::run({static_cast<unsigned>(lengths.size()), heads, blocks(longest, QUERIES)}, THREADS, [&] {
        if (dims == 32) attention_32(context.data(), qkv.data(), starts.data(), hidden, scale_log2);
        else attention_64(context.data(), qkv.data(), starts.data(), hidden, scale_log2);
    });
    std::vector<double> should(tokens * hidden);
    const auto at = [&](unsigned token, unsigned part, unsigned head, unsigned dim) {
        return static_cast<double>(qkv[token * 3 * hidden + part * hidden + head * dims + dim]);
    };
    for (unsigned text = 0; text < lengths.size(); text++) {
        for (unsigned head = 0; head < heads; head++) {
            for (unsigned query = starts[text]; query < starts[text + 1]; query++) {
                std::vector<double> weights;
                double highest = -INFINITY, sum = 0.0;
                for (unsigned key = starts[text]; key < starts[text + 1]; key++) {
                    double score = 0.0;
                    for (unsigned i = 0; i < dims; i++) score += at(query, 0, head, i) * at(key, 1, head, i);
                    weights.push_back(score * scale);
                    highest = std::max(highest, weights.back());
                }
                for (double& weight : weights) sum += weight = std::exp(weight - highest);
                for (unsigned i = 0; i < dims; i++) {
                    double value = 0.0;
                    for (unsigned key = 0; key < weights.size(); key++) {
                        value += weights[key] / sum * at(starts[text] + key, 2, head, i);
                    }
                    should[query * hidden + head * dims + i] = value;
                }
            }
        }
    }
    std::string what = "attention_" + std::to_string(dims) + ", " + std::to_string(heads) + " heads, texts of";
    for (unsigned length : lengths) what += " " + std::to_string(length);
    // Weights are rounded to halves before they meet the values, and errors of a sum have either sign.
    compare(what, context, should, 4.0);
}

void pool_is_right(const std::vector<unsigned>& lengths, unsigned hidden, bool first_only) {
    const auto starts = starts_of(lengths);
    const auto state = random_halves(starts.back() * hidden);
    std::vector<float> out(lengths.size() * hidden);
    host::run({static_cast<unsigned>(lengths.size())}, THREADS, [&] {
        pool(out.data(), state.data(), starts.data(), hidden, first_only ? 1 : 0);
    });
    std::vector<double> should;
    for (unsigned text = 0; text < lengths.size(); text++) {
        std::vector<double> row(hidden, 0.0);
        const unsigned end = first_only ? starts[text] + 1 : starts[text + 1];
        for (unsigned token = starts[text]; token < end; token++) {
            for (unsigned i = 0; i < hidden; i++) row[i] += static_cast<double>(state[token * hidden + i]);
        }
        double length = 0.0;
        for (double value : row) length += value * value;
        for (double& value : row) value /= std::sqrt(length);
        should.insert(should.end(), row.begin(), row.end());
    }
    const std::string what = first_only ? "pool first of " : "pool mean of ";
    compare(what + std::to_string(hidden), out, should, 0.01);
}

}  // namespace

int main() {
    for (unsigned hidden : {32u, 64u, 384u, 768u, 1024u}) {
        for (unsigned tokens : {1u, 4u, 9u}) {
            embed_norm_is_right(tokens, hidden);
            add_norm_is_right(tokens, hidden, 0.0f);
        }
        pool_is_right({1, 2, 37}, hidden, false);
        pool_is_right({5, 1}, hidden, true);
    }
    // Far from zero, where a variance from squares would be noise.
    add_norm_is_right(3, 384, 200.0f);
    for (unsigned dims : {32u, 64u}) {
        attention_is_right({1}, 1, dims, 1.0f);
        attention_is_right({15, 16, 17}, 2, dims, 1.0f);
        attention_is_right({63, 1, 64, 65}, 1, dims, 1.0f);
        attention_is_right({130, 3, 40}, 3, dims, 1.0f);
        attention_is_right({200}, 1, dims, 3.0f);
        attention_is_right({33, 129}, 1, dims, 8.0f);
    }
    std::printf("%s\n", failures == 0 ? "all kernels agree with plain loops" : "there are WRONG kernels");
    return failures == 0 ? 0 : 1;
}
